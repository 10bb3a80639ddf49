"""Whether an instance is in rotation, and the heartbeat that says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import psutil

from headrace_bus.routing.bodies.shared_file import reach
from headrace_bus.wire.heartbeat import BATCHES, PULLS, InstanceHeartbeat, InstanceState
from headrace_bus.wire.launch import Launch, Probe
from headrace_scorer.errors import StartFailed

ERROR_MAX_CHARS: Final = 32_000  # of a heartbeat's error text
HINT_MAX_CHARS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """Cores in use since the last look, and resident bytes, of scorer and workers."""

    cpu: float
    memory_bytes: int


class Meter:
    """Measures the scorer and its workers; a few system calls each time."""

    def __init__(self) -> None:
        self._known: dict[int, psutil.Process] = {}

    def read(self, pids: Iterable[int]) -> Vitals:
        """Call it about once a second; the first look at a process counts as no use."""
        cpu, memory = 0.0, 0
        alive: dict[int, psutil.Process] = {}
        for pid in pids:
            try:
                process = self._known.get(pid) or psutil.Process(pid)
                cpu += process.cpu_percent() / 100
                memory += process.memory_info().rss
            except psutil.Error:
                continue
            alive[pid] = process
        self._known = alive
        return Vitals(cpu=cpu, memory_bytes=memory)


def readiness_budget_s(probe: Probe) -> float:
    """Seconds after which an instance that was never ready has failed (azure_behaviour.md 1.5)."""
    return probe.initial_delay_s + probe.failure_threshold * probe.period_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What the heartbeat is made of, beside constants of the instance."""

    state: InstanceState
    slots: int
    standby: int
    in_flight: int
    served: int
    links: int
    phases: Mapping[str, float]
    workers: tuple[int, ...]
    error: StartFailed | None


def heartbeat(
    launch: Launch, epoch: int, client: str, snapshot: Snapshot, vitals: Vitals
) -> InstanceHeartbeat:
    error = snapshot.error
    return InstanceHeartbeat(
        iid=launch.iid,
        owner=launch.owner,
        epoch=epoch,
        client=client,
        state=snapshot.state,
        slots=snapshot.slots,
        standby=snapshot.standby,
        in_flight=snapshot.in_flight,
        served=snapshot.served,
        links=snapshot.links,
        phases=dict(snapshot.phases),
        workers=snapshot.workers,
        error_code=error.code if error else "",
        error=str(error)[:ERROR_MAX_CHARS] if error else "",
        hint=error.hint[:HINT_MAX_CHARS] if error else "",
        cpu=vitals.cpu,
        memory_bytes=vitals.memory_bytes,
        reach=reach(),  # of our workers too: they are processes of ours
        features=frozenset({PULLS, BATCHES}),
    )
