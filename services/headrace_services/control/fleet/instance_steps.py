"""The instances of a deployment: what is seen of each, and the steps of a plan carried out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from headrace_api.errors import HeadraceError, InvalidInput, NotFound
from headrace_bus.errors import UnreadableName
from headrace_bus.wire.launch import Launch
from headrace_bus.wire.subjects import InstanceAddress
from headrace_scaler.compute.computes import Computes
from headrace_services.control.fleet import rollout
from headrace_services.control.fleet.rollout import Failure, Plan, Seen
from headrace_services.control.fleet.snapshot import Snapshot
from headrace_state.deployment_name import DeploymentName
from headrace_state.fleet_view import FleetView
from headrace_state.instance_id import new_iid
from headrace_state.launch_builder import LaunchBuilder
from headrace_state.records import (
    Instance,
    InstancePhase,
    Spec,
    UnreadableRecord,
    instance_key,
)
from headrace_state.status_writer import StatusWriter
from headrace_telemetry.clock import monotonic, timestamp

log = structlog.get_logger(__name__)

_CODES: Final[dict[type[HeadraceError], str]] = {NotFound: "ResourceNotFound"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """What new instances are made from."""

    spec: Spec
    revision: int
    """Of the deployment's spec, which after a failed update is not this one."""
    digest: str


@dataclass(slots=True, kw_only=True)
class InstanceSteps:
    """Remembers times only; all else is read anew each round."""

    status_writer: StatusWriter
    computes: Computes
    view: FleetView
    builder: LaunchBuilder
    mint: Callable[[InstanceAddress], str]
    """The credentials of an instance."""
    known_s: dict[str, float] = field(default_factory=dict)
    ended_s: dict[str, float] = field(default_factory=dict)

    def seen(self, snapshot: Snapshot, name: DeploymentName) -> list[Seen]:
        """Each instance that is written down, as records, provider and heartbeats show it."""
        return [self._seen(snapshot, one) for one in snapshot.instances[name]]

    async def remember(self, snapshot: Snapshot, name: DeploymentName) -> None:
        """Write down once what a later control, or one elsewhere, could not find out.

        An instance that has served: its later end is no failed start. Where one runs whose
        record, of an earlier release, does not say so: another host must not start it again.
        """
        changes: dict[str, bytes | None] = {}
        for n, one in enumerate(snapshot.instances[name]):
            heard = self.view.instance(one.iid)
            known = replace(one, was_ready=one.was_ready or (heard is not None and heard.was_ready))
            if not one.host and one.iid in snapshot.running:
                compute = snapshot.listing.compute_of[one.iid]
                known = replace(known, host=self.computes.host, compute=compute)
            if known != one:
                snapshot.instances[name][n] = known
                changes[_key(known)] = known.encode()
        if changes:
            await self.status_writer.write(changes)

    async def take(
        self, snapshot: Snapshot, name: DeploymentName, plan: Plan, template: Template | None
    ) -> Failure | None:
        """Take the steps; a failure when the template's assets do not let an instance start.

        Without a template nothing is started. Raises LeaseLost, BusDisconnected.
        """
        by_iid = {one.iid: one for one in snapshot.instances[name]}
        try:
            for step in plan.steps:
                if (one := by_iid.get(getattr(step, "iid", ""))) and self._is_unknown(
                    snapshot, one
                ):
                    continue  # nothing is known of it: it is left as it is
                match step:
                    case rollout.Start() if template and not self._default_is_silent(snapshot):
                        await self._start(name, step, template)
                    case rollout.Launch() if template:
                        instance = by_iid[step.iid]
                        await self._run(instance, await self.builder.build(instance, template.spec))
                    case rollout.Drain():
                        await self._drain(by_iid[step.iid])
                    case rollout.Kill():
                        await self._kill(by_iid[step.iid])
                    case rollout.Remove():
                        await self._remove(by_iid[step.iid])
        except (NotFound, InvalidInput, UnreadableRecord, UnreadableName) as error:
            log.warning("instance cannot be launched", reason=error.message, **name._asdict())
            code = _CODES.get(type(error), error.code)
            return Failure(code=code, error=error.message, iid="", hint=error.hint)
        return None

    def _seen(self, snapshot: Snapshot, instance: Instance) -> Seen:
        now_s = monotonic()
        iid = instance.iid
        known_s = self.known_s.setdefault(iid, now_s)
        running = snapshot.running.get(iid)
        heard = self.view.instance(iid)
        silent_s = self.view.silent_s(iid, known_s)
        alive = running is not None and running.alive
        started = running is not None
        if self._is_foreign(instance):
            started, alive = True, silent_s <= rollout.SILENCE_BOUND_S
        elif self._is_unknown(snapshot, instance):
            started = alive = True
        ended_s = now_s
        if started and not alive:
            ended_s = self.ended_s.setdefault(iid, now_s)
        return Seen(
            iid=iid,
            template=instance.template,
            draining=instance.phase is not InstancePhase.RUNNING,
            started=started,
            alive=alive,
            exit_code=running.exit_code if running else None,
            state=heard.beat.state if heard else None,
            was_ready=instance.was_ready or (heard.was_ready if heard else False),
            age_s=now_s - known_s,
            in_state_s=now_s - heard.since_s if heard else 0.0,
            silent_s=silent_s,
            ended_s=now_s - ended_s,
            restarts=instance.restarts,
            error_code=heard.beat.error_code if heard else "",
            error=heard.beat.error if heard else "",
            hint=heard.beat.hint if heard else "",
        )

    def _is_foreign(self, instance: Instance) -> bool:
        """Whether it runs where this control has no compute, as its heartbeats alone tell."""
        return instance.host not in ("", self.computes.host)

    def _is_unknown(self, snapshot: Snapshot, instance: Instance) -> bool:
        """Whether its compute, which is of this host, did not answer this round or is gone."""
        if self._is_foreign(instance):
            return False
        name = instance.compute or self.computes.default
        return name in snapshot.listing.silent or not self.computes.has(name)

    def _default_is_silent(self, snapshot: Snapshot) -> bool:
        """Whether a new instance would go where nothing answers; it waits for a later round."""
        return self.computes.default in snapshot.listing.silent

    async def _start(self, name: DeploymentName, step: rollout.Start, template: Template) -> None:
        instance = Instance(
            iid=new_iid(),
            endpoint=name.endpoint,
            deployment=name.deployment,
            revision=template.revision,
            template=template.digest,
            created_at=timestamp(),
            restarts=step.restarts,
            compute=self.computes.default,
            host=self.computes.host,
        )
        launch = await self.builder.build(instance, template.spec)
        await self.status_writer.write({_key(instance): instance.encode()})
        await self._run(instance, launch)

    async def _run(self, instance: Instance, launch: Launch) -> None:
        address = InstanceAddress(instance.endpoint, instance.deployment, instance.iid)
        self.known_s[instance.iid] = monotonic()
        await self.computes.start(instance.compute, launch, self.mint(address))

    async def _drain(self, instance: Instance) -> None:
        if instance.phase is InstancePhase.RUNNING:
            drained = replace(instance, phase=InstancePhase.DRAINING)
            await self.status_writer.write({_key(instance): drained.encode()})
        if not self._is_foreign(instance):
            await self.computes.stop(instance.compute, instance.iid)

    async def _kill(self, instance: Instance) -> None:
        if not self._is_foreign(instance):
            await self.computes.kill(instance.compute, instance.iid)

    async def _remove(self, instance: Instance) -> None:
        if not self._is_foreign(instance):
            await self.computes.forget(instance.compute, instance.iid)
        await self.status_writer.write({_key(instance): None})
        self.view.forget(instance.iid)
        self.known_s.pop(instance.iid, None)
        self.ended_s.pop(instance.iid, None)


def _key(instance: Instance) -> str:
    return instance_key(instance.endpoint, instance.deployment, instance.iid)
