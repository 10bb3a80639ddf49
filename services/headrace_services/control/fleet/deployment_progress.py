"""What is said of a deployment: its status, the progress of its operation, and how that ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from headrace_api.errors import NotFound
from headrace_scaler.compute.computes import Computes
from headrace_services.control.fleet.rollout import Failure, Goal, Plan
from headrace_services.control.fleet.snapshot import Snapshot
from headrace_services.control.fleet.visibility import Verdict, Visibility, look
from headrace_state.deployment_name import DeploymentName
from headrace_state.fleet_view import FleetView
from headrace_state.records import (
    Operation,
    ProvisioningState,
    Spec,
    Status,
    applied_key,
    deployment_status_key,
)
from headrace_state.repository import Stored
from headrace_state.status_writer import FAILED, StatusWriter
from headrace_telemetry.clock import monotonic

log = structlog.get_logger(__name__)

PHASES: Final = ("fetch", "environment", "load", "ready")
LOG_LINES: Final = 20  # of an instance that ended without a word
_WORKING: Final = (
    ProvisioningState.CREATING,
    ProvisioningState.UPDATING,
    ProvisioningState.SCALING,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentRound:
    """One deployment in one round: what is stored of it, what is wanted, what was decided."""

    snapshot: Snapshot
    name: DeploymentName
    stored: Stored[Spec]
    operation: Operation | None
    goal: Goal
    plan: Plan
    route_revision: int

    @property
    def status_key(self) -> str:
        """Where its status lies."""
        return deployment_status_key(*self.name)


@dataclass(slots=True, kw_only=True)
class DeploymentProgress:
    """Writes statuses and closes operations."""

    status_writer: StatusWriter
    computes: Computes
    view: FleetView
    done_s: dict[str, float] = field(default_factory=dict)
    """When an operation's instances were first all ready, by its id."""

    async def show(self, now: DeploymentRound) -> None:
        """Say how far it is; close the operation when all is ready and every ingress knows.

        Raises LeaseLost, RevisionConflict, BusDisconnected.
        """
        if not now.goal.rolling:
            await self._show_settled(now)
            return
        phases = self._phases(now)
        seen = self._visibility(now)
        verdict = seen.verdict(self._waited_s(now)) if now.plan.converged else Verdict.WAIT
        if verdict is Verdict.REACHABLE:
            if seen.blind:
                log.warning("not every ingress sees it", blind=seen.blind, **now.name._asdict())
            await self._succeed(now, phases)
        elif verdict is Verdict.UNREACHABLE:
            await self.fail(now, seen.failure())
        else:
            await self.status_writer.progress(now.operation, tuple(phases.items()))
            before = now.snapshot.status(now.status_key)
            status = _working(before, now.stored.value, now.plan, phases)
            await self.status_writer.show(now.snapshot.statuses, now.status_key, status)

    async def fail(self, now: DeploymentRound, failure: Failure) -> None:
        """What served before goes on serving; the next round falls back to it.

        Raises LeaseLost, BusDisconnected.
        """
        error = await self._told(now.name, failure)
        self.done_s.pop(now.operation.id if now.operation else "", None)
        operation, heard = now.operation, self.view.instance(failure.iid)
        if operation is not None and heard is not None:
            # Those done since the last round: what comes after them is what failed.
            operation = replace(operation, steps=tuple(_in_order(heard.beat.phases).items()))
        status = Status(
            provisioning_state=ProvisioningState.FAILED,
            error_code=failure.code,
            error=error,
            hint=failure.hint,
            ready=now.plan.ready,
        )
        changes = {now.status_key: status.encode()}
        await self.status_writer.close(
            operation, changes, code=failure.code, error=error, hint=failure.hint
        )
        log.warning("deployment failed", code=failure.code, iid=failure.iid, **now.name._asdict())

    async def _show_settled(self, now: DeploymentRound) -> None:
        before = now.snapshot.status(now.status_key) or Status(
            provisioning_state=ProvisioningState.SUCCEEDED
        )
        failed = now.operation is not None and now.operation.status == FAILED
        attached = self.view.attached(*now.name, now.snapshot.own)
        settled = replace(before, ready=now.plan.ready, attached=attached, operation="")
        if not failed and before.provisioning_state in _WORKING:
            settled = replace(settled, provisioning_state=ProvisioningState.SUCCEEDED)
        await self.status_writer.show(now.snapshot.statuses, now.status_key, settled)

    async def _succeed(self, now: DeploymentRound, phases: dict[str, float]) -> None:
        assert now.operation is not None  # as the goal is rolling
        self.done_s.pop(now.operation.id, None)
        status = Status(
            provisioning_state=ProvisioningState.SUCCEEDED,
            applied_revision=now.stored.revision,
            ready=now.plan.ready,
            phases=phases,
        )
        await self.status_writer.close(
            replace(now.operation, steps=tuple(phases.items())),
            {now.status_key: status.encode(), applied_key(*now.name): now.stored.value.encode()},
        )
        log.info("deployment is ready", revision=now.stored.revision, **now.name._asdict())

    def _visibility(self, now: DeploymentRound) -> Visibility:
        live = self.view.live_ingresses()
        return look(live, now.name, ready=now.goal.count, revision=now.route_revision)

    def _waited_s(self, now: DeploymentRound) -> float:
        """For ingresses, since all was ready; while the view is new it may not know of them."""
        assert now.operation is not None  # as the goal is rolling
        if self.view.is_new:
            self.done_s[now.operation.id] = monotonic()
        return monotonic() - self.done_s.setdefault(now.operation.id, monotonic())

    async def _told(self, name: DeploymentName, failure: Failure) -> str:
        """The instance's own words; where it left none, the end of its log."""
        heard = self.view.instance(failure.iid)
        if not failure.iid or (heard is not None and heard.beat.error):
            return failure.error
        try:
            tail = await self.computes.logs(*name, tail=LOG_LINES, iid=failure.iid)
        except NotFound:
            return failure.error
        return f"{failure.error}\n{tail}".rstrip()

    def _phases(self, now: DeploymentRound) -> dict[str, float]:
        """Seconds of the slowest instance of the goal's template, for the phases it has done."""
        found: dict[str, float] = {}
        for one in now.snapshot.instances[now.name]:
            heard = self.view.instance(one.iid)
            if one.template != now.goal.template or heard is None:
                continue
            for phase, seconds in heard.beat.phases.items():
                found[phase] = max(found.get(phase, 0.0), seconds)
        return _in_order(found)


def _in_order(seconds: Mapping[str, float]) -> dict[str, float]:
    return {phase: round(seconds[phase], 3) for phase in PHASES if phase in seconds}


def _working(before: Status | None, spec: Spec, plan: Plan, phases: dict[str, float]) -> Status:
    state = before.provisioning_state if before else ProvisioningState.CREATING
    if state not in _WORKING:
        created = before is None or not before.applied_revision
        state = ProvisioningState.CREATING if created else ProvisioningState.UPDATING
    return Status(
        provisioning_state=state,
        applied_revision=before.applied_revision if before else 0,
        operation=spec.operation,
        ready=plan.ready,
        phases=phases,
    )
