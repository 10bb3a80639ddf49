"""What an ingress tells an instance beside requests, on `control.<ep>.<dep>.<iid>`.

Want     n requests wait here with no slot; 0 takes that back and returns what is held
Cancel   the caller hung up or ran out of time
Credit   n more chunks of a streamed answer may come
Pull     send pieces of the large answer; from its end on: all is here
Piece    one of the request's body that the instance asked for
Recall   a slot is free elsewhere: give the request back, unless it has begun
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final, NamedTuple

import msgpack

from headrace_bus.errors import MalformedEnvelope

MAX_WANT: Final = 4096  # requests; more than one instance can ever grant at once
_WAITED_SHIFT: Final = 16  # of a backlog's word: milliseconds above, requests below
_SLOT: Final = 1 << 15  # of a backlog's word, above any MAX_WANT
_MAX_WAITED_MS: Final = 2**32


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """Absolute, so it may be sent again: it replaces what the instance knew of this ingress."""

    kind: ClassVar[int] = 1
    ingress_id: str
    n: int
    """Requests that wait at the ingress. 0: none, and slots held for it are free for others."""
    reply: str
    """Where an Answer of kind GRANT goes; `free` in it counts the places held and free for all."""
    waited_ms: int = 0
    """How long the first of them has waited: who has waited longest gets the next free slot."""
    slot: bool = False
    """The first of them may not stand by: only a free slot is of use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Nobody reads the answer any more; drop it if it has not started, stop it if it can."""

    kind: ClassVar[int] = 2
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """Room for more chunks of a streamed answer, beyond CHUNK_WINDOW."""

    kind: ClassVar[int] = 3
    request_id: str
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """Asks for pieces of an answer that was LEFT; the first past the last says that all is here."""

    kind: ClassVar[int] = 4
    request_id: str
    first: int
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """PIECE_BYTES of a request's body, or less at its end."""

    kind: ClassVar[int] = 5
    request_id: str
    number: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """Answered by BUSY if the request had not begun, else by nothing but its own answer."""

    kind: ClassVar[int] = 6
    request_id: str


InstanceControl = Want | Cancel | Credit | Pull | Piece | Recall


class Backlog(NamedTuple):
    """What waits at an ingress; as the fields of Want."""

    n: int
    waited_ms: int
    slot: bool


NOTHING_WAITS: Final = Backlog(0, 0, slot=False)


def pack_backlog(backlog: Backlog) -> int:
    """What waits at an ingress, in one word: in a Want, and in the flags of a request before it.

    A reader that does not know of the waiting, or of `slot`, takes it for a large number, which it
    cuts.
    """
    n, waited_ms, slot = backlog
    if not n:
        return 0
    waited = min(waited_ms, _MAX_WAITED_MS) << _WAITED_SHIFT
    return min(n, MAX_WANT) | waited | (_SLOT if slot else 0)


def unpack_backlog(word: int) -> Backlog:
    n = min(word & (_SLOT - 1), MAX_WANT)
    if not n:
        return NOTHING_WAITS
    return Backlog(n, min(word >> _WAITED_SHIFT, _MAX_WAITED_MS), slot=bool(word & _SLOT))


def encode_control(message: InstanceControl) -> bytes:
    match message:
        case Want():
            word = pack_backlog(Backlog(message.n, message.waited_ms, message.slot))
            fields: tuple[str | int | bytes, ...] = (message.ingress_id, word, message.reply)
        case Cancel() | Recall():
            fields = (message.request_id,)
        case Credit():
            fields = (message.request_id, message.n)
        case Pull():
            fields = (message.request_id, message.first, message.n)
        case Piece():
            fields = (message.request_id, message.number, message.data)
    return msgpack.packb((message.kind, *fields))  # type: ignore[no-any-return]  # untyped


def decode_control(data: bytes) -> InstanceControl:
    """Raises MalformedEnvelope on anything `encode_control` cannot have made."""
    try:
        kind, *fields = msgpack.unpackb(data)
        return _message(kind, fields)
    except (TypeError, ValueError, RecursionError, msgpack.UnpackException) as error:
        raise MalformedEnvelope("instance control", str(error)) from error


def _message(kind: object, fields: list[Any]) -> InstanceControl:
    if kind == Want.kind:
        ingress_id, word, reply = fields
        n, waited_ms, slot = unpack_backlog(_count(word))
        who, reply = str(ingress_id), str(reply)
        return Want(ingress_id=who, n=n, reply=reply, waited_ms=waited_ms, slot=slot)
    if kind == Cancel.kind:
        (request_id,) = fields
        return Cancel(request_id=str(request_id))
    if kind == Credit.kind:
        request_id, n = fields
        return Credit(request_id=str(request_id), n=_count(n))
    if kind == Pull.kind:
        request_id, first, n = fields
        return Pull(request_id=str(request_id), first=_count(first), n=_count(n))
    if kind == Piece.kind:
        request_id, number, data = fields
        if not isinstance(data, bytes):
            raise ValueError("a piece holds bytes")
        return Piece(request_id=str(request_id), number=_count(number), data=data)
    if kind == Recall.kind:
        (request_id,) = fields
        return Recall(request_id=str(request_id))
    raise ValueError(f"kind {kind!r}")


def _count(value: object) -> int:
    if isinstance(value, int) and value >= 0:
        return value
    raise ValueError(f"{value!r} is not a count")
