"""One deployment a round: what is seen of it, the pure plan, its steps, what is said of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import structlog

from headrace_bus.store.bucket import Bucket
from headrace_scaler.compute.computes import Computes
from headrace_services.control.fleet import rollout
from headrace_services.control.fleet.deployment_progress import DeploymentProgress, DeploymentRound
from headrace_services.control.fleet.instance_steps import InstanceSteps, Template
from headrace_services.control.fleet.rollout import Goal
from headrace_services.control.fleet.snapshot import Snapshot
from headrace_state.deployment_name import DeploymentName
from headrace_state.desired_count import desired_count
from headrace_state.launch_builder import read_deployment, ready_budget_s, template_of
from headrace_state.records import (
    Operation,
    ProvisioningState,
    Spec,
    Status,
    applied_key,
    deployment_key,
    deployment_status_key,
)
from headrace_state.status_writer import StatusWriter, has_failed, is_open

log = structlog.get_logger(__name__)

_NOTHING: Final = Goal(template="", count=0, ready_budget_s=0.0, deleting=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentReconciler:
    """Decides by what a round saw, and has it carried out and told."""

    specs: Bucket
    status_writer: StatusWriter
    computes: Computes
    instances: InstanceSteps
    progress: DeploymentProgress

    async def step(
        self, snapshot: Snapshot, name: DeploymentName, route_revision: int
    ) -> float | None:
        """Bring one deployment nearer to its spec; returns when time alone changes the answer.

        Raises LeaseLost, BusDisconnected.
        """
        stored = snapshot.deployments[name]
        operation = await self.status_writer.operation(stored.value)
        leaving = snapshot.is_leaving(name)
        target = None if leaving else _target(snapshot, name, stored.value, operation)
        goal = _goal(name, target, rolling=is_open(operation) and not leaving)
        await self.instances.remember(snapshot, name)
        plan = rollout.plan(goal, self.instances.seen(snapshot, name))
        template = None
        if target is not None:
            template = Template(spec=target, revision=stored.revision, digest=goal.template)
        failure = plan.failure if goal.rolling else None
        failure = await self.instances.take(snapshot, name, plan, template) or failure
        now = DeploymentRound(
            snapshot=snapshot,
            name=name,
            stored=stored,
            operation=operation,
            goal=goal,
            plan=plan,
            route_revision=route_revision,
        )
        if leaving:
            await self._leave(now)
        elif failure is not None and goal.rolling:
            await self.progress.fail(now, failure)
            return 0.0  # the route is to say so
        else:
            await self.progress.show(now)
        removed = any(isinstance(step, rollout.Remove) for step in plan.steps)
        return 0.0 if removed else plan.look_again_s

    async def drop(self, snapshot: Snapshot, name: DeploymentName) -> None:
        """End instances whose deployment has no spec any more."""
        plan = rollout.plan(_NOTHING, self.instances.seen(snapshot, name))
        await self.instances.take(snapshot, name, plan, None)
        if plan.converged:
            await self.computes.erase(*name)

    async def _leave(self, now: DeploymentRound) -> None:
        if not now.plan.converged:
            status = Status(provisioning_state=ProvisioningState.DELETING, ready=now.plan.ready)
            await self.status_writer.show(now.snapshot.statuses, now.status_key, status)
            return
        await self.computes.erase(*now.name)
        await self.specs.delete(deployment_key(*now.name), now.stored.revision)
        del now.snapshot.deployments[now.name]
        await self.status_writer.close(
            now.operation, {now.status_key: None, applied_key(*now.name): None}
        )
        log.info("deployment is gone", **now.name._asdict())


def _target(
    snapshot: Snapshot, name: DeploymentName, spec: Spec, operation: Operation | None
) -> Spec | None:
    """The spec to serve: after a failed update the last one that worked, after a create none."""
    status = snapshot.status(deployment_status_key(*name))
    return snapshot.applied.get(name) if has_failed(status, operation) else spec


def _goal(name: DeploymentName, target: Spec | None, *, rolling: bool) -> Goal:
    if target is None:
        return _NOTHING
    typed = read_deployment(name.endpoint, target)
    return Goal(
        template=template_of(target),
        count=desired_count(target),
        ready_budget_s=ready_budget_s(typed),
        rolling=rolling,
    )
