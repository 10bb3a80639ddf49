"""How many requests a deployment may have waiting and running, over all ingresses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from headrace_bus.wire.heartbeat import IngressHeartbeat
from headrace_bus.wire.liveness_bounds import INGRESS_LIVE_S
from headrace_bus.wire.route_record import DeploymentRoute

PENDING_FACTOR: Final = 2  # azure_behaviour.md 3.1


def pending_limit(deployment: DeploymentRoute, ready: int = 0) -> int:
    """2 x max_concurrent_requests_per_instance x the instances that are wanted, or more are ready.

    Those that somebody attached are wanted by nobody and add room all the same.
    """
    instances = max(1, deployment.desired_instances, ready)
    return PENDING_FACTOR * deployment.max_concurrent * instances


def queue_wait_s(deployment: DeploymentRoute, ready: int, pending: int = 0) -> float:
    """How long a request may wait for room, behind so many others, with so many instances ready.

    Pure. Of those that `max_concurrent` lets an instance have at once, Azure's container holds the
    ones without a worker until their request timeout ends (azure_behaviour.md 1.5): the edge does.
    At zero instances it waits for one to be woken; where the start failed none is on its way.
    """
    if pending < deployment.max_concurrent * ready:
        return max(deployment.max_queue_wait_ms, deployment.request_timeout_ms) / 1000
    if deployment.failed and not ready:
        return 0.0
    if not deployment.desired_instances:
        return deployment.wake_timeout_ms / 1000
    return deployment.max_queue_wait_ms / 1000


class Peers:
    """What the other ingresses last said they have; one that is gone counts nothing."""

    def __init__(self, own_id: str) -> None:
        self._own_id = own_id
        self._heard: dict[str, tuple[float, IngressHeartbeat]] = {}
        self._counts: dict[str, int] = {}

    def heard(self, heartbeat: IngressHeartbeat, now: float) -> None:
        """Replace what one ingress said; its own heartbeat is ignored."""
        if heartbeat.ingress_id != self._own_id:
            self._heard[heartbeat.ingress_id] = (now, heartbeat)
            self._count()

    def forget_silent(self, now: float) -> None:
        """Drop those not heard for INGRESS_LIVE_S."""
        silent = [one for one, (heard, _) in self._heard.items() if now - heard > INGRESS_LIVE_S]
        for one in silent:
            del self._heard[one]
        if silent:
            self._count()

    def pending(self, deployment: str) -> int:
        """Requests waiting and running at the others, for `<ep>.<dep>`."""
        return self._counts.get(deployment, 0)

    def __len__(self) -> int:
        return len(self._heard)

    def _count(self) -> None:
        self._counts = {}
        for _, heartbeat in self._heard.values():
            _add(self._counts, heartbeat.waiting)
            _add(self._counts, heartbeat.in_flight)


def _add(total: dict[str, int], counts: Mapping[str, int]) -> None:
    for name, count in counts.items():
        total[name] = total.get(name, 0) + count
