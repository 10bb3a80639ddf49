"""A rollout has succeeded when requests can reach it, and else says which ingress is behind."""

from __future__ import annotations

import pytest

from headrace_bus.wire.heartbeat import IngressHeartbeat
from headrace_services.control.fleet import visibility
from headrace_services.control.fleet.visibility import (
    SEEN_BOUND_S,
    UNSEEN_BOUND_S,
    Verdict,
    look,
)
from headrace_state.deployment_name import DeploymentName
from headrace_state.fleet_view import ObservedIngress
from support.reconcile_desk import Desk

BLUE = DeploymentName("iris", "blue")
ALL = (1, 2)  # the route's revision and the instances that are ready


def seen_by(**edges: tuple[int, int]) -> visibility.Visibility:
    """By ingresses that applied this revision and see so many."""
    live = {
        name: ObservedIngress(
            beat=IngressHeartbeat(
                ingress_id=name, applied={"iris": applied}, live={"iris.blue": ready}
            ),
            heard_s=0.0,
        )
        for name, (applied, ready) in edges.items()
    }
    return look(live, BLUE, ready=ALL[1], revision=ALL[0])


@pytest.mark.parametrize(
    ("edges", "waited_s", "verdict"),
    [
        ({"a": ALL}, 0, Verdict.REACHABLE),
        ({"a": ALL, "b": ALL}, 0, Verdict.REACHABLE),
        ({"a": ALL, "b": (0, 2)}, SEEN_BOUND_S, Verdict.WAIT),
        ({"a": ALL, "b": (1, 1)}, SEEN_BOUND_S + 1, Verdict.REACHABLE),
        ({"a": (1, 1)}, UNSEEN_BOUND_S, Verdict.WAIT),
        ({"a": (1, 1)}, UNSEEN_BOUND_S + 1, Verdict.UNREACHABLE),
        ({}, 0, Verdict.WAIT),
        ({}, UNSEEN_BOUND_S + 1, Verdict.UNREACHABLE),
    ],
)
def test_one_ingress_that_sees_it_is_enough_and_none_never_is(
    edges: dict[str, tuple[int, int]], waited_s: float, verdict: Verdict
) -> None:
    assert seen_by(**edges).verdict(waited_s) is verdict


def test_the_failure_names_each_ingress_and_what_it_lacks() -> None:
    told = seen_by(a=(0, 0), b=(1, 1)).failure().error
    assert "a has not applied the route (revision 0 of 1); b sees 1 of 2" in told
    assert "none is running" in seen_by().failure().error


async def test_a_deployment_that_no_ingress_sees_does_not_succeed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visibility, "UNSEEN_BOUND_S", 1.0)
    await desk.edge.stop()
    await desk.code("good")
    await desk.endpoint()
    await desk.reconciler()

    ended = await desk.ended(await desk.deployment())

    assert (ended.status, ended.error_code) == ("Failed", "IngressUnavailable")
    assert "no ingress sees them: none is running" in ended.error
