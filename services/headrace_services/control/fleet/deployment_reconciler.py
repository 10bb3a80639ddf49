"""One deployment a round: what is seen of it, the pure plan, its steps, what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from headrace_api.errors import HeadraceError, InvalidInput, NotFound
from headrace_bus.errors import UnreadableName
from headrace_bus.store.bucket import Bucket
from headrace_bus.wire.launch import Launch
from headrace_bus.wire.subjects import InstanceAddress
from headrace_scaler.compute.port import Compute
from headrace_services.control.fleet import rollout
from headrace_services.control.fleet.rollout import Failure, Goal, Plan, Seen
from headrace_services.control.fleet.snapshot import Snapshot, Versioned
from headrace_state.deployment_name import DeploymentName
from headrace_state.desired_count import desired_count
from headrace_state.fleet_view import FleetView
from headrace_state.instance_id import new_iid
from headrace_state.launch_builder import (
    LaunchBuilder,
    read_deployment,
    ready_budget_s,
    template_of,
)
from headrace_state.records import (
    Instance,
    InstancePhase,
    Operation,
    ProvisioningState,
    Spec,
    Status,
    UnreadableRecord,
    applied_key,
    deployment_key,
    deployment_status_key,
    instance_key,
)
from headrace_state.status_writer import FAILED, StatusWriter, has_failed, is_open
from headrace_telemetry.clock import monotonic, timestamp

log = structlog.get_logger(__name__)

PHASES: Final = ("fetch", "environment", "load", "ready")
SEEN_BOUND_S: Final = 3.0  # how long a finished rollout waits for ingresses to see it
LOG_LINES: Final = 20  # of an instance that ended without a word
_CODES: Final[dict[type[HeadraceError], str]] = {NotFound: "ResourceNotFound"}
_WORKING: Final = (
    ProvisioningState.CREATING,
    ProvisioningState.UPDATING,
    ProvisioningState.SCALING,
)


@dataclass(slots=True, kw_only=True)
class DeploymentReconciler:
    """Carries out plans. Remembers times only; all else is read anew each round."""

    specs: Bucket
    status_writer: StatusWriter
    compute: Compute
    view: FleetView
    builder: LaunchBuilder
    mint: Callable[[InstanceAddress], str]
    """The credentials of an instance."""
    known_s: dict[str, float] = field(default_factory=dict)
    ended_s: dict[str, float] = field(default_factory=dict)
    done_s: dict[str, float] = field(default_factory=dict)
    """When an operation's instances were first all ready, by its id."""

    async def step(
        self, snapshot: Snapshot, name: DeploymentName, route_revision: int
    ) -> float | None:
        """Bring one deployment nearer to its spec; returns when time alone changes the answer.

        Raises LeaseLost, BusDisconnected.
        """
        stored = snapshot.deployments[name]
        operation = await self.status_writer.operation(stored.spec)
        leaving = snapshot.is_leaving(name)
        target = None if leaving else _target(snapshot, name, stored.spec, operation)
        goal = _goal(name, target, rolling=is_open(operation) and not leaving)
        seen = [self._seen(snapshot, one) for one in snapshot.instances[name]]
        plan = rollout.plan(goal, seen)
        failure = plan.failure if goal.rolling else None
        failure = await self._act(snapshot, name, plan, target, stored, goal) or failure
        if leaving:
            await self._leave(snapshot, name, plan, operation, stored)
        elif failure is not None and goal.rolling:
            await self._fail(name, plan, operation, failure)
            return 0.0  # the route is to say so
        else:
            await self._show(snapshot, name, plan, stored, operation, goal, route_revision)
        removed = any(isinstance(step, rollout.Remove) for step in plan.steps)
        return 0.0 if removed else plan.look_again_s

    async def drop(self, snapshot: Snapshot, name: DeploymentName) -> None:
        """End instances whose deployment has no spec any more."""
        seen = [self._seen(snapshot, one) for one in snapshot.instances[name]]
        plan = rollout.plan(Goal(template="", count=0, ready_budget_s=0.0, deleting=True), seen)
        await self._act(snapshot, name, plan, None, None, None)
        if plan.converged:
            await self.compute.erase(*name)

    def _seen(self, snapshot: Snapshot, instance: Instance) -> Seen:
        now_s = monotonic()
        iid = instance.iid
        known_s = self.known_s.setdefault(iid, now_s)
        running = snapshot.running.get(iid)
        heard = self.view.instance(iid)
        alive = running is not None and running.alive
        ended_s = now_s
        if running is not None and not running.alive:
            ended_s = self.ended_s.setdefault(iid, now_s)
        return Seen(
            iid=iid,
            template=instance.template,
            draining=instance.phase is not InstancePhase.RUNNING,
            started=running is not None,
            alive=alive,
            exit_code=running.exit_code if running else None,
            state=heard.beat.state if heard else None,
            was_ready=heard.was_ready if heard else False,
            age_s=now_s - known_s,
            in_state_s=now_s - heard.since_s if heard else 0.0,
            silent_s=self.view.silent_s(iid, known_s),
            ended_s=now_s - ended_s,
            restarts=instance.restarts,
            error_code=heard.beat.error_code if heard else "",
            error=heard.beat.error if heard else "",
        )

    async def _act(
        self,
        snapshot: Snapshot,
        name: DeploymentName,
        plan: Plan,
        target: Spec | None,
        stored: Versioned | None,
        goal: Goal | None,
    ) -> Failure | None:
        """Take the steps; a failure when the target's assets do not let an instance start."""
        by_iid = {one.iid: one for one in snapshot.instances[name]}
        try:
            for step in plan.steps:
                match step:
                    case rollout.Start() if target and stored and goal:
                        await self._start(name, step, target, stored.revision, goal.template)
                    case rollout.Launch() if target:
                        await self._launch(by_iid[step.iid], target)
                    case rollout.Drain():
                        await self._drain(by_iid[step.iid])
                    case rollout.Kill():
                        await self.compute.kill(step.iid)
                    case rollout.Remove():
                        await self._remove(by_iid[step.iid])
        except (NotFound, InvalidInput, UnreadableRecord, UnreadableName) as error:
            log.warning("instance cannot be launched", reason=error.message, **name._asdict())
            code = _CODES.get(type(error), error.code)
            return Failure(code=code, error=error.message, iid="")
        return None

    async def _start(
        self, name: DeploymentName, step: rollout.Start, target: Spec, revision: int, template: str
    ) -> None:
        instance = Instance(
            iid=new_iid(),
            endpoint=name.endpoint,
            deployment=name.deployment,
            revision=revision,
            template=template,
            created_at=timestamp(),
            restarts=step.restarts,
        )
        launch = await self.builder.build(instance, target)
        await self.status_writer.write({_key(instance): instance.encode()})
        await self._run(instance, launch)

    async def _launch(self, instance: Instance, target: Spec) -> None:
        await self._run(instance, await self.builder.build(instance, target))

    async def _run(self, instance: Instance, launch: Launch) -> None:
        address = InstanceAddress(instance.endpoint, instance.deployment, instance.iid)
        self.known_s[instance.iid] = monotonic()
        await self.compute.start(launch, self.mint(address))

    async def _drain(self, instance: Instance) -> None:
        if instance.phase is InstancePhase.RUNNING:
            drained = replace(instance, phase=InstancePhase.DRAINING)
            await self.status_writer.write({_key(instance): drained.encode()})
        await self.compute.stop(instance.iid)

    async def _remove(self, instance: Instance) -> None:
        await self.compute.forget(instance.iid)
        await self.status_writer.write({_key(instance): None})
        self.view.forget(instance.iid)
        self.known_s.pop(instance.iid, None)
        self.ended_s.pop(instance.iid, None)

    async def _show(
        self,
        snapshot: Snapshot,
        name: DeploymentName,
        plan: Plan,
        stored: Versioned,
        operation: Operation | None,
        goal: Goal,
        route_revision: int,
    ) -> None:
        """Say how far it is; close the operation when all is ready and every ingress knows."""
        phases = self._phases(snapshot, name, goal.template)
        key = deployment_status_key(*name)
        if goal.rolling and not (
            plan.converged and self._is_known(name, operation, goal, route_revision)
        ):
            await self.status_writer.progress(operation, tuple(phases.items()))
            status = _working(snapshot.status(key), stored.spec, plan, phases)
            await self.status_writer.show(snapshot.statuses, key, status)
            return
        before = snapshot.status(key) or Status(provisioning_state=ProvisioningState.SUCCEEDED)
        if goal.rolling and operation is not None:
            status = Status(
                provisioning_state=ProvisioningState.SUCCEEDED,
                applied_revision=stored.revision,
                ready=plan.ready,
                phases=phases,
            )
            done = replace(operation, steps=tuple(phases.items()))
            await self.status_writer.close(
                done, {key: status.encode(), applied_key(*name): stored.spec.encode()}
            )
            self.done_s.pop(operation.id, None)
            log.info("deployment is ready", revision=stored.revision, **name._asdict())
            return
        failed = operation is not None and operation.status == FAILED
        attached = self.view.attached(*name, snapshot.own)
        settled = replace(before, ready=plan.ready, attached=attached, operation="")
        if not failed and before.provisioning_state in _WORKING:
            settled = replace(settled, provisioning_state=ProvisioningState.SUCCEEDED)
        await self.status_writer.show(snapshot.statuses, key, settled)

    def _is_known(
        self, name: DeploymentName, operation: Operation | None, goal: Goal, route_revision: int
    ) -> bool:
        """Whether ingresses can use the instances; those that are behind are waited for a while."""
        identity = operation.id if operation else ""
        since_s = self.done_s.setdefault(identity, monotonic())
        if monotonic() - since_s > SEEN_BOUND_S:
            return True
        applied = self.view.applied_everywhere(name.endpoint, route_revision)
        return applied and self.view.seen_everywhere(*name, goal.count)

    async def _fail(
        self, name: DeploymentName, plan: Plan, operation: Operation | None, failure: Failure
    ) -> None:
        """What served before goes on serving; the next round falls back to it."""
        error = await self._told(name, failure)
        heard = self.view.instance(failure.iid)
        if operation is not None and heard is not None:
            # Those done since the last round: what comes after them is what failed.
            operation = replace(operation, steps=tuple(_in_order(heard.beat.phases).items()))
        status = Status(
            provisioning_state=ProvisioningState.FAILED,
            error_code=failure.code,
            error=error,
            ready=plan.ready,
        )
        await self.status_writer.close(
            operation,
            {deployment_status_key(*name): status.encode()},
            code=failure.code,
            error=error,
        )
        log.warning("deployment failed", code=failure.code, iid=failure.iid, **name._asdict())

    async def _told(self, name: DeploymentName, failure: Failure) -> str:
        """The instance's own words; where it left none, the end of its log."""
        heard = self.view.instance(failure.iid)
        if not failure.iid or (heard is not None and heard.beat.error):
            return failure.error
        try:
            tail = await self.compute.logs(*name, tail=LOG_LINES, iid=failure.iid)
        except NotFound:
            return failure.error
        return f"{failure.error}\n{tail}".rstrip()

    async def _leave(
        self,
        snapshot: Snapshot,
        name: DeploymentName,
        plan: Plan,
        operation: Operation | None,
        stored: Versioned,
    ) -> None:
        key = deployment_status_key(*name)
        if not plan.converged:
            status = Status(provisioning_state=ProvisioningState.DELETING, ready=plan.ready)
            await self.status_writer.show(snapshot.statuses, key, status)
            return
        await self.compute.erase(*name)
        await self.specs.delete(deployment_key(*name), stored.revision)
        del snapshot.deployments[name]
        await self.status_writer.close(operation, {key: None, applied_key(*name): None})
        log.info("deployment is gone", **name._asdict())

    def _phases(self, snapshot: Snapshot, name: DeploymentName, template: str) -> dict[str, float]:
        """Seconds of the slowest instance of the template, for the phases it has done."""
        found: dict[str, float] = {}
        for one in snapshot.instances[name]:
            heard = self.view.instance(one.iid)
            if one.template != template or heard is None:
                continue
            for phase, seconds in heard.beat.phases.items():
                found[phase] = max(found.get(phase, 0.0), seconds)
        return _in_order(found)


def _in_order(seconds: Mapping[str, float]) -> dict[str, float]:
    return {phase: round(seconds[phase], 3) for phase in PHASES if phase in seconds}


def _target(
    snapshot: Snapshot, name: DeploymentName, spec: Spec, operation: Operation | None
) -> Spec | None:
    """The spec to serve: after a failed update the last one that worked, after a create none."""
    status = snapshot.status(deployment_status_key(*name))
    return snapshot.applied.get(name) if has_failed(status, operation) else spec


def _goal(name: DeploymentName, target: Spec | None, *, rolling: bool) -> Goal:
    if target is None:
        return Goal(template="", count=0, ready_budget_s=0.0, deleting=True)
    typed = read_deployment(name.endpoint, target)
    return Goal(
        template=template_of(target),
        count=desired_count(target),
        ready_budget_s=ready_budget_s(typed),
        rolling=rolling,
    )


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


def _key(instance: Instance) -> str:
    return instance_key(instance.endpoint, instance.deployment, instance.iid)


def unwanted(snapshot: Snapshot) -> Sequence[str]:
    """Ids that the provider lists and no record wants, as far as all can be read."""
    return [
        iid
        for iid, one in snapshot.running.items()
        if iid not in snapshot.own and one.endpoint not in snapshot.set_aside
    ]
