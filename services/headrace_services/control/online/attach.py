"""Attached instances: what a scorer needs that somebody starts by hand.

The record goes over the API to the holder of a token, never on the bus: it carries the deployment's
environment variables, and credentials come with it. Nothing is written down here, so no rollout
counts, replaces or stops such an instance; its heartbeats alone make it known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Final

from headrace_api.errors import Conflict
from headrace_bus.store.bucket import Bucket
from headrace_bus.wire.subjects import InstanceAddress
from headrace_services.control.arm.request import Answer, Call
from headrace_services.control.online.deployments import Deployments
from headrace_services.control.resources.change_log import audit
from headrace_state.instance_id import ATTACHED, new_iid
from headrace_state.launch_builder import LaunchBuilder, template_of
from headrace_state.records import Instance, Spec, applied_key
from headrace_telemetry.clock import timestamp

FETCH_BOUND: Final = timedelta(days=1)
"""How long an attached instance may take to fetch its model and code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachments:
    """Handler of `POST .../deployments/<name>/attach`."""

    deployments: Deployments
    states: Bucket
    builder: LaunchBuilder
    mint: Callable[[InstanceAddress], str]
    bytes_url: Callable[[], str]
    """Makes a signed address of the bytes by digest."""

    async def attach(self, call: Call) -> Answer:
        """`{"launch": ..., "credentials": ...}` of a new instance of what serves now.

        Raises NotFound, Conflict when the deployment is leaving or never became ready.
        """
        endpoint, stored = await self.deployments.known(call)
        names = endpoint.name.lower(), stored.value.name.lower()
        record = await self.states.get(applied_key(*names))
        leaving = stored.value.deleting or endpoint.deleting
        if leaving or record is None:
            why = "is being deleted" if leaving else "has never become ready"
            raise Conflict(
                f"deployment {stored.value.name!r} {why}, so no instance can be attached to it",
                target=stored.value.name,
            )
        spec = Spec.decode(record.value, record.key)
        address = InstanceAddress(*names, new_iid(ATTACHED))
        instance = Instance(
            iid=address.iid,
            endpoint=address.endpoint,
            deployment=address.deployment,
            revision=stored.revision,
            template=template_of(spec),
            created_at=timestamp(),
        )
        launch = await self.builder.build(instance, spec)
        launch = replace(launch, bytes_url=self.bytes_url())
        audit(call, "attach", stored.key, stored.revision)
        body = {"launch": asdict(launch), "credentials": self.mint(address)}
        return Answer(body=body, headers={"Cache-Control": "no-store"})
