"""The scoring envelope: a version byte, a kind byte, a small msgpack header, then the raw body.

    request   ingress -> inst.<ep>.<dep>.<iid>   Request
    answer    scorer  -> the ingress' reply subject   Answer, once; or CHUNK ... CHUNK END

Neither body nor head (`wire.head`) is re-encoded: what the ingress sent is what the worker reads.
Answers of one request share its reply subject; a streamed answer is numbered chunks of at most
CHUNK_BYTES under a credit window.
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import Any, Final, NamedTuple

import msgpack

from headrace_bus.errors import MalformedEnvelope
from headrace_bus.wire.head import Headers, is_request_head, split_answer, split_request

VERSION: Final = 3
CHUNK_BYTES: Final = 256 * 1024
PIECE_BYTES: Final = CHUNK_BYTES  # of a large body that is pulled; the last may be shorter
CHUNK_WINDOW: Final = 8  # chunks a scorer may send before it has credit for more

_pack: Final = msgpack.Packer().pack  # packb makes a packer each time
_PREFIX: Final = struct.Struct(">BBI")  # version, kind, header length in bytes
_REQUEST: Final = 0x51
_ANSWER: Final = 0x41
_ANSWER_TYPES: Final = (int, str, int, int, int, int, str, int, bytes, bytes)


class RequestFlag(IntFlag):
    """What the ingress asks of the instance besides the answer."""

    MIRROR = 1  # a copy: run it, answer with the status and no body, so that its slot is known free
    RETRY = 4  # the second attempt of a request lost with its instance
    RESENT = 8  # sent again under the same id after a reconnect; drop it if it is here already
    MORE = 16  # others wait at the ingress for a slot
    STANDBY = 32  # no slot is free for it anywhere: it may wait at the instance for one
    TRAINS = 64  # its answer may come with others in one message (wire.train)


class AnswerKind(IntEnum):
    """What became of a request at an instance."""

    DONE = 1  # status, headers and the whole body
    BUSY = 2  # not begun, nothing ran; the request goes back to the head of its queue
    DRAINING = 3  # not admitted, the instance takes nothing more
    CHUNK = 4  # a piece of a streamed body; the first one carries status and headers
    END = 5  # the streamed body is complete, or broken when `reason` says why
    EXPIRED = 6  # the deadline had passed before anything ran
    FAILED = 7  # no answer from the model: `reason` is model_not_ready, worker_died, timeout, ...
    GRANT = 8  # not an answer: `free` slots are held for this ingress, see routing
    PULL = 9  # the instance asks for `status` pieces of the request's body, from number `seq` on
    LEFT = 10  # a large answer waits here to be pulled; its size is in the header hr-size
    PIECE = 11  # number `seq` of that answer


RequestFields = tuple[str, int, int, int, int, int, bytes, str, str, bytes]
AnswerFields = tuple[int, str, int, int, int, int, str, int, bytes, bytes]


class Request(NamedTuple):
    """One scoring request on its way to an instance."""

    request_id: str
    deadline_ms: int
    """By the ingress' own steady clock, which starts anywhere. Nobody starts it after that."""
    remaining_ms: int
    """What was left when it was sent; the difference is when that was."""
    timeout_ms: int
    """How long `run` may take, from dispatch (request_timeout_ms)."""
    flags: int
    """RequestFlag."""
    backlog: int
    """What the request leaves waiting at its ingress (`instance_control.pack_backlog`)."""
    head: bytes
    """`wire.head.request_head`: chosen client headers, names in lower case."""
    traceparent: str
    ingress_id: str
    body: bytes

    @property
    def headers(self) -> Headers:
        """Taken apart at each call."""
        return split_request(self.head)[3]


class Answer(NamedTuple):
    """What an instance says of a request."""

    kind: int
    request_id: str
    status: int
    exec_us: int
    """Microseconds inside `run`; -1 when it did not run to its end. Of a CHUNK the number of the
    run at its instance, by which two runs of one request are told apart."""
    free: int
    """Slots free at the instance after this answer (GRANT: slots held for this ingress)."""
    seq: int
    """Number of a CHUNK, from 0; in END the number of chunks."""
    reason: str
    epoch: int
    """The instance's epoch, so that answers of a predecessor are told apart."""
    head: bytes
    """`wire.head.answer_head`, of the model's making."""
    body: bytes

    @property
    def headers(self) -> Headers:
        """Taken apart at each call."""
        return split_answer(self.head)


def encode_request(request: Request) -> bytes:
    return pack_request(*request)


def encode_answer(answer: Answer) -> bytes:
    return pack_answer(*answer)


def pack_request(*fields: *RequestFields) -> bytes:
    """`encode_request` of the fields of a Request, without making one."""
    header: bytes = _pack(fields[:-1])
    return b"%b%b%b" % (_PREFIX.pack(VERSION, _REQUEST, len(header)), header, fields[-1])


def pack_answer(*fields: *AnswerFields) -> bytes:
    """`encode_answer` of the fields of an Answer, without making one."""
    header: bytes = _pack(fields[:-1])
    return b"%b%b%b" % (_PREFIX.pack(VERSION, _ANSWER, len(header)), header, fields[-1])


def decode_request(data: bytes) -> Request:
    """Raises MalformedEnvelope on anything `encode_request` cannot have made."""
    fields = _fields(data, _REQUEST, len(Request._fields))
    try:
        request = Request._make(fields)
        if not is_request_head(request.head):
            raise ValueError("the head has no whole number of parts")
        return request
    except (TypeError, ValueError) as error:
        raise MalformedEnvelope("request header", str(error)) from error


def decode_answer(data: bytes) -> Answer:
    """Raises MalformedEnvelope on anything `encode_answer` cannot have made."""
    fields = _fields(data, _ANSWER, len(Answer._fields))
    if tuple(map(type, fields)) != _ANSWER_TYPES:
        raise MalformedEnvelope("answer header", "not the fields of an answer")
    return Answer._make(fields)


def _fields(data: bytes, kind: int, count: int) -> list[Any]:
    """The header's fields, then the body, `count` in all.

    A newer version's fields come behind those that are known, and are left out.
    """
    if len(data) < _PREFIX.size:
        raise MalformedEnvelope("prefix", f"{len(data)} bytes, at least {_PREFIX.size} expected")
    version, found, length = _PREFIX.unpack_from(data)
    if (version, found) != (VERSION, kind):
        raise MalformedEnvelope("prefix", f"version {version} kind {found:#x}")
    end = _PREFIX.size + length
    if end > len(data):
        raise MalformedEnvelope(
            "header", f"{length} bytes announced, {len(data) - _PREFIX.size} there"
        )
    try:
        header = msgpack.unpackb(data[_PREFIX.size : end])
    except (ValueError, msgpack.UnpackException) as error:
        raise MalformedEnvelope("header", str(error)) from error
    if type(header) is not list:
        raise MalformedEnvelope("header", "not a list")
    if len(header) >= count:
        del header[count - 1 :]
    header.append(data[end:])
    return header
