"""A call as the bytes that its instance gets, wherever its body lies."""

from __future__ import annotations

from headrace_bus.errors import PayloadTooLarge
from headrace_bus.routing.bodies.shared_file import (
    HEADER,
    PULL_HEADER,
    SharedFile,
    message_bytes,
    reach,
)
from headrace_bus.routing.exchange.call import Call
from headrace_bus.routing.queueing.queue_entry import Instance
from headrace_bus.wire.envelope import RequestFlag, pack_request
from headrace_bus.wire.head import with_header
from headrace_telemetry.clock import monotonic


def packed(
    call: Call,
    known: Instance,
    flags: int,
    backlog: int,
    *,
    ingress_id: str,
    timeout_ms: int,
    max_payload: int,
) -> bytes:
    """The request's envelope. Raises PayloadTooLarge when no message can bring the body there."""
    incoming = call.incoming
    head, body = incoming.head, incoming.body
    if incoming.file is not None:
        head, body = _enclosed(call, incoming.file, known, max_payload)
    sent = monotonic() if call.resent else call.sent
    remaining_ms = int((call.deadline - sent) * 1000)
    if call.deliver is None:
        flags |= int(RequestFlag.MIRROR)
    if call.attempt > 1:
        flags |= int(RequestFlag.RETRY)
    if call.resent:
        flags |= int(RequestFlag.RESENT)
    return pack_request(
        incoming.request_id,
        int(call.deadline * 1000),
        remaining_ms,
        timeout_ms,
        flags,
        backlog,
        head,
        incoming.traceparent,
        ingress_id,
        body,
    )


def _enclosed(
    call: Call, file: SharedFile, known: Instance, max_payload: int
) -> tuple[bytes, bytes]:
    """Head and body by which an instance gets a file."""
    incoming = call.incoming
    if known.reach and known.reach == reach():
        # Of two that may run at once only one can have the room behind the body.
        alone = call.attempt == 1 and call.deliver is not None
        reference = file.reference(may_answer=alone)
        return with_header(incoming.head, HEADER, reference), incoming.body
    most = message_bytes(max_payload)
    if file.size_bytes > most:
        if not known.pulls:  # of an older version
            raise PayloadTooLarge(file.size_bytes, most)
        return with_header(incoming.head, PULL_HEADER, str(file.size_bytes)), b""
    return incoming.head, incoming.body or file.body()
