"""Observed state and operations, as the holder of a lease writes them: each write asserts it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from headrace_bus.store.bucket import Bucket
from headrace_state.records import (
    Operation,
    ProvisioningState,
    Spec,
    Status,
    operation_key,
)
from headrace_state.repository import Stored
from headrace_telemetry.clock import timestamp

IN_PROGRESS = "InProgress"
SUCCEEDED = "Succeeded"
FAILED = "Failed"


class Fence(Protocol):
    """A held lease."""

    async def write(
        self, values: Mapping[str, bytes | None], expected: Mapping[str, int | None] | None = None
    ) -> dict[str, int]:
        """Store all or nothing; None deletes. Raises LeaseLost, RevisionConflict."""


class StatusWriter:
    """Writes through the lease, and remembers which operations are over."""

    def __init__(
        self, state: Bucket, fence: Fence, on_end: Callable[[Operation], None] | None = None
    ) -> None:
        """`on_end` gets each operation as it was closed."""
        self._state = state
        self._fence = fence
        self._on_end = on_end
        self._over: dict[str, Operation] = {}
        self._gone: set[str] = set()

    async def operation(self, spec: Spec) -> Operation | None:
        """The operation that wrote a spec; None when it has been dropped since."""
        if known := self._over.get(spec.operation):
            return known
        if not spec.operation or spec.operation in self._gone:
            return None
        record = await self._state.get(operation_key(spec.operation))
        if record is None:  # it was written before the spec, so it will not come any more
            self._gone.add(spec.operation)
            return None
        operation = Operation.decode(record.value, record.key)
        if operation.status != IN_PROGRESS:
            self._over[operation.id] = operation
        return operation

    async def write(
        self, changes: Mapping[str, bytes | None], expected: Mapping[str, int | None] | None = None
    ) -> dict[str, int]:
        """The new revisions. Raises LeaseLost, RevisionConflict, BusDisconnected."""
        return await self._fence.write(changes, expected)

    async def show(self, seen: dict[str, Stored[Status]], key: str, status: Status) -> None:
        """Write a status unless it stands there already, by what was `seen` there; updates it.

        The API writes it too when a change begins, so one that was written since then stays:
        raises RevisionConflict.
        """
        old = seen.get(key)
        if old is not None and old.value == status:
            return
        revision = old.revision if old is not None else None
        written = await self.write({key: status.encode()}, {key: revision})
        seen[key] = Stored(key=key, revision=written[key], value=status)

    async def progress(
        self, operation: Operation | None, steps: tuple[tuple[str, float], ...]
    ) -> None:
        """Show the phases that are done."""
        if operation is None or operation.steps == steps:
            return
        changed = replace(operation, steps=steps)
        await self.write({operation_key(operation.id): changed.encode()})

    async def close(
        self,
        operation: Operation | None,
        more: Mapping[str, bytes | None],
        *,
        code: str = "",
        error: str = "",
        hint: str = "",
    ) -> None:
        """End an operation, together with the state that its end is about."""
        changes = dict(more)
        if operation is not None and operation.status == IN_PROGRESS:
            ended = replace(
                operation,
                status=FAILED if code else SUCCEEDED,
                ended_at=timestamp(),
                error_code=code,
                error=error,
                hint=hint,
            )
            changes[operation_key(operation.id)] = ended.encode()
            await self.write(changes)
            self._over[operation.id] = ended
            if self._on_end is not None:
                self._on_end(ended)
        elif changes:
            await self.write(changes)

    def forget(self, live: set[str]) -> None:
        """Drop what is remembered of operations that no spec carries any more."""
        self._over = {name: one for name, one in self._over.items() if name in live}
        self._gone &= live


def is_open(operation: Operation | None) -> bool:
    return operation is not None and operation.status == IN_PROGRESS


def has_failed(status: Status | None, operation: Operation | None) -> bool:
    """Whether a deployment's last change failed; its status says so once the operation is gone."""
    if operation is not None:
        return operation.status not in (IN_PROGRESS, SUCCEEDED)
    return status is not None and status.provisioning_state is ProvisioningState.FAILED
