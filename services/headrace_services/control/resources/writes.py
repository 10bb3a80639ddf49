"""Desired state of endpoints and deployments: how a change of it is stored, once for both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from headrace_api.errors import Conflict
from headrace_bus.errors import RevisionConflict
from headrace_services.control.arm.request import Answer, Call
from headrace_services.control.resources.change_log import audit
from headrace_services.control.resources.operations import Operations
from headrace_services.control.resources.ports import Convergence
from headrace_state.records import Operation, ProvisioningState, Spec, Status
from headrace_state.repository import Damaged, Entry, Repository, Stored, etag_of, readable
from headrace_telemetry.clock import timestamp

STATUS_TRIES = 5


class AlreadyExists(Conflict):
    """A create of something that is there with another body."""

    def __init__(self, resource: str) -> None:
        super().__init__(
            f"{resource} already exists with other settings",
            hint="update it, or choose another name",
            target=resource,
        )


class ChangedMeanwhile(Conflict):
    """Another writer was first; nothing was stored."""

    def __init__(self, resource: str) -> None:
        super().__init__(
            f"{resource} has changed since it was read; nothing was stored",
            hint="run the same command again: it reads the new version first",
            target=resource,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of desired state."""

    resource: str
    """ARM id."""
    key: str
    status_key: str
    verb: str
    """create, update, delete or regenerateKeys."""
    state: ProvisioningState
    """What the resource is until the reconciler closes the operation."""
    spec: Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceWrites:
    """The one way by which specs of endpoints and deployments change."""

    specs: Repository[Spec]
    statuses: Repository[Status]
    operations: Operations
    convergence: Convergence

    async def open(self, old: Stored[Spec] | Damaged | None, change: Change) -> Operation:
        """The operation that a change will carry. Raises OperationInProgress."""
        if isinstance(old, Stored):
            await self.operations.require_idle(change.resource, old.value)
        return await self.operations.open(change.resource, change.verb)

    async def apply(
        self,
        call: Call,
        old: Stored[Spec] | Damaged | None,
        change: Change,
        operation: Operation | None = None,
    ) -> Operation:
        """Store the spec that carries an operation, show the state, wake the reconciler.

        Without an operation it opens one. Raises OperationInProgress, ChangedMeanwhile.
        """
        operation = operation or await self.open(old, change)
        # Read before the spec is written: a status that is newer then is the reconciler's.
        before = await self.statuses.present(change.status_key)
        try:
            stored = await self.specs.put(
                old, change.key, replace(change.spec, operation=operation.id)
            )
        except RevisionConflict:
            await self.operations.abandon(operation)
            raise ChangedMeanwhile(change.resource) from None
        await self._show(change, before, operation)
        self.convergence.wake()
        audit(call, change.verb, change.resource, stored.revision)
        return operation

    async def state(self, spec: Spec, status_key: str) -> Status:
        """What is observed of a resource; never absent."""
        stored = await self.statuses.get(status_key)
        return observed(spec, stored.value if stored else None)

    async def state_before(self, spec: Spec, status_key: str) -> Status:
        """As `state`, for a change: what cannot be read needs one, as what has failed does."""
        stored = await self.statuses.present(status_key)
        if isinstance(stored, Damaged):
            return Status(provisioning_state=ProvisioningState.FAILED)
        return observed(spec, stored.value if stored else None)

    def accepted(self, operation: Operation, body: dict[str, Any] | None, status: int) -> Answer:
        return Answer(body=body, status=status, headers=self.operations.headers(operation))

    async def _show(
        self, change: Change, before: Stored[Status] | Damaged | None, operation: Operation
    ) -> None:
        for _ in range(STATUS_TRIES):
            known = readable(before)
            old = known.value if known else Status(provisioning_state=change.state)
            status = replace(
                old,
                provisioning_state=change.state,
                operation=operation.id,
                error_code="",
                error="",
            )
            try:
                await self.statuses.put(before, change.status_key, status)
            except RevisionConflict:
                before = await self.statuses.present(change.status_key)
                if await self._is_taken_up(readable(before), operation, change.spec):
                    return
            else:
                return

    async def _is_taken_up(
        self, status: Stored[Status] | None, operation: Operation, spec: Spec
    ) -> bool:
        """Whether the reconciler has already shown this change, or even ended it."""
        if status is not None and status.value.operation == operation.id:
            return True
        return await self.operations.running(replace(spec, operation=operation.id)) is None


def leaving(name: str) -> Spec:
    """What takes the place of a spec that cannot be read, until all that it was about is gone."""
    now = timestamp()
    return Spec(name=name, arm={"properties": {}}, created_at=now, modified_at=now, deleting=True)


def observed(spec: Spec, status: Status | None) -> Status:
    """A spec without a status was written a moment ago."""
    if status is None:
        state = ProvisioningState.DELETING if spec.deleting else ProvisioningState.CREATING
        return Status(provisioning_state=state)
    if spec.deleting and status.provisioning_state is not ProvisioningState.FAILED:
        return replace(status, provisioning_state=ProvisioningState.DELETING)
    return status


def require_match(call: Call, old: Entry | None) -> None:
    """Raises ChangedMeanwhile when `If-Match` names a revision that is not the present one."""
    wanted = call.headers.get("If-Match", "").strip().strip('"')
    present = [etag_of(old)["ETag"].strip('"')] + ["*"] * (old is not None)
    if wanted and wanted not in present:
        raise ChangedMeanwhile(call.target)


def is_create_only(call: Call) -> bool:
    """`If-None-Match: *` asks for a create that must not overwrite."""
    return call.headers.get("If-None-Match", "").strip() == "*"
