"""Long-running operations: opened by a write, closed by the reconciler, polled by the client.

The order of a write makes it safe without a lock: the operation is stored first, then the spec that
carries its id by compare-and-set, then the status. Whoever reads a spec whose operation is still
InProgress is the second one and meets 409; a write that lost leaves an operation nobody knows.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

import structlog

from headrace_api.arm import error_body, hint_details
from headrace_api.errors import Conflict, NotFound
from headrace_api.operation import CANCELED, IN_PROGRESS, operation_body
from headrace_bus.errors import RevisionConflict
from headrace_services.control.arm.ids import ArmIds
from headrace_services.control.arm.request import Answer, Call
from headrace_state.records import Operation, Spec, operation_key
from headrace_state.repository import Repository, readable
from headrace_telemetry.clock import timestamp

log = structlog.get_logger(__name__)

RETRY_AFTER_S: Final = "1"
KEPT: Final = timedelta(days=1)  # after the end
ABANDONED: Final = timedelta(days=7)  # opened by a write that lost, so that nobody will close it


class OperationInProgress(Conflict):
    """Another operation holds the resource."""

    def __init__(self, resource: str, operation: Operation) -> None:
        super().__init__(
            f"{resource} has an operation in progress: {operation.verb}, started at "
            f"{operation.started_at}",
            hint="wait until it ends, then try again",
            target=resource,
        )


class Operations:
    """Opens operations and shows them to the clients that poll."""

    def __init__(
        self,
        repository: Repository[Operation],
        ids: ArmIds,
        *,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self._repository = repository
        self._ids = ids
        self._now = now or (lambda: datetime.now(UTC))

    async def open(self, resource: str, verb: str) -> Operation:
        """Store a new operation. Its id is hard to guess and says nothing."""
        operation = Operation(
            id=secrets.token_hex(16), resource=resource, verb=verb, started_at=timestamp()
        )
        await self._repository.create(operation_key(operation.id), operation)
        return operation

    async def known(self, operation_id: str) -> bool:
        """Whether it is remembered: until a day after its end, a week after its start without."""
        return await self._repository.present(operation_key(operation_id)) is not None

    async def running(self, spec: Spec) -> Operation | None:
        """The operation that wrote this spec, while it is open; one that cannot be read is over.

        Nobody can close it, so it would hold up every later change.
        """
        if not spec.operation:
            return None
        stored = readable(await self._repository.present(operation_key(spec.operation)))
        return stored.value if stored and stored.value.status == IN_PROGRESS else None

    async def require_idle(self, resource: str, spec: Spec) -> None:
        """Raises OperationInProgress when another operation holds the resource."""
        operation = await self.running(spec)
        if operation is not None:
            raise OperationInProgress(resource, operation)

    async def cancel(self, operation: Operation, *, by: str) -> None:
        """Close it as overtaken by a delete, unless it ended meanwhile."""
        stored = readable(await self._repository.present(operation_key(operation.id)))
        if stored is None or stored.value.status != IN_PROGRESS:
            return
        ended = replace(
            stored.value,
            status=CANCELED,
            ended_at=timestamp(),
            error_code="OperationCanceled",
            error=f"superseded by {by}",
        )
        with suppress(RevisionConflict):  # it ended by itself, which is as good
            await self._repository.update(stored, ended)

    async def abandon(self, operation: Operation) -> None:
        """Forget an operation whose write lost against another."""
        stored = await self._repository.get(operation_key(operation.id))
        if stored is not None:
            await self._repository.delete(stored)

    def headers(self, operation: Operation) -> dict[str, str]:
        """What tells an ARM client where and how often to poll."""
        return {
            "Azure-AsyncOperation": self._ids.operation(operation.id),
            "Location": self._ids.operation(operation.id, results=True),
            "Retry-After": RETRY_AFTER_S,
        }

    async def status(self, call: Call) -> Answer:
        """`GET mfeOperationsStatus/{id}` (azure_rest.md 2.1)."""
        operation = await self._known(call)
        running = operation.status == IN_PROGRESS
        body = operation_body(
            operation.id,
            path=self._ids.operation_path(operation.id),
            status=operation.status,
            started_at=operation.started_at,
            ended_at=operation.ended_at,
            error=_error(operation),
            steps=operation.steps,
        )
        return Answer(body=body, headers={"Retry-After": RETRY_AFTER_S} if running else {})

    async def result(self, call: Call) -> Answer:
        """`GET mfeOperationResults/{id}`: 202 while it runs, then nothing more to say."""
        operation = await self._known(call)
        if operation.status == IN_PROGRESS:
            location = self._ids.operation(operation.id, results=True)
            headers = {"Retry-After": RETRY_AFTER_S, "Location": location}
            return Answer(status=202, headers=headers)
        return Answer(status=204)

    async def expire(self) -> int:
        """Drop what ended a day ago; return how many."""
        gone = 0
        for stored in await self._repository.list("operation."):
            if not self._is_over(stored.value):
                continue
            try:
                await self._repository.delete(stored)
                gone += 1
            except RevisionConflict:
                log.debug("operation changed while it expired", operation=stored.value.id)
        return gone

    def _is_over(self, operation: Operation) -> bool:
        since = operation.ended_at or operation.started_at
        kept = KEPT if operation.ended_at else ABANDONED
        return self._now() - datetime.fromisoformat(since) > kept

    async def _known(self, call: Call) -> Operation:
        operation_id = call.path["operation"]
        if operation_id.isalnum() and operation_id.isascii():
            stored = await self._repository.get(operation_key(operation_id))
            if stored is not None:
                return stored.value
        raise NotFound(
            f"operation {operation_id!r} does not exist, or ended more than a day ago",
            target=operation_id,
        )


def _error(operation: Operation) -> dict[str, Any] | None:
    if not operation.error_code:
        return None
    body = error_body(
        operation.error_code,
        operation.error,
        target=operation.resource,
        details=hint_details(operation.hint),
    )
    return cast("dict[str, Any]", body["error"])
