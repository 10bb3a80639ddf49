"""Frames between a scorer and its worker: length, kind, request number, payload.

    data socket      REQUEST >            < ANSWER | STREAM CHUNK ... END | LARGE CHUNK ... END
    control socket   PING CANCEL CREDIT RECALL STOP > < READY FAILED PONG RECALLED

Several frames may share one write. Both sides use this module, so it runs on Python 3.8.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import chain
from typing import Final, List, NamedTuple, Tuple

HEAD: Final = struct.Struct("!IBQ")  # payload bytes, kind, request number
MAX_PAYLOAD_BYTES: Final = 256 * 1024 * 1024
CHUNK_BYTES: Final = 256 * 1024  # the largest piece of a streamed body
WHOLE_BYTES: Final = 7 * 1024 * 1024  # of an answer in one frame; a larger one is LARGE
WINDOW: Final = 8  # chunks a worker may send before it has credit for more

REQUEST: Final = 1
ANSWER: Final = 2
STREAM: Final = 3  # status and headers of a streamed answer
CHUNK: Final = 4
END: Final = 5  # of a stream; its reason is empty when the body is complete
LARGE: Final = 6  # an answer without its body, which comes in chunks at once
READY: Final = 10
FAILED: Final = 11  # init or import failed; payload is a JSON report
PING: Final = 12
PONG: Final = 13
CANCEL: Final = 14
CREDIT: Final = 15
RECALL: Final = 16  # give the request back, unless its run has begun
RECALLED: Final = 17  # it had not, and never will
STOP: Final = 18  # end as a process that is asked to: handlers of SIGTERM, then those of atexit

_KINDS: Final = frozenset((1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 14, 15, 16, 17, 18))
_ANSWER: Final = struct.Struct("!HqI")  # status, microseconds in run, bytes of text
_TEXT: Final = struct.Struct("!I")  # bytes of text
_SEPARATOR: Final = "\0"

# Evaluated at import, where Python 3.8 knows no tuple[...].
Frame = Tuple[int, int, bytes]
Pairs = List[Tuple[str, str]]


class BrokenFrame(ValueError):
    """The other side sent bytes that this module did not make."""


class Call(NamedTuple):
    """A request as the worker sees it."""

    method: str
    path: str
    query: str
    headers: Pairs
    """Names in lower case."""
    body: bytes


class Reply(NamedTuple):
    """An answer of the worker; in END frames only `exec_us` and `reason` count."""

    status: int
    exec_us: int
    """Microseconds inside `run`; -1 when it did not run to its end."""
    reason: str
    headers: Pairs
    body: bytes


def encode(kind: int, number: int, payload: bytes = b"") -> bytes:
    return HEAD.pack(len(payload), kind, number) + payload


def encode_call(number: int, head: bytes, body: bytes) -> bytes:
    """`head`: method, path, query, then name and value of each header, joined by NUL, in UTF-8."""
    size = _TEXT.size + len(head) + len(body)
    return b"".join((HEAD.pack(size, REQUEST, number), _TEXT.pack(len(head)), head, body))


def decode_call(payload: bytes) -> Call:
    """Raises BrokenFrame."""
    try:
        (length,) = _TEXT.unpack_from(payload)
        end = _TEXT.size + length
        if end > len(payload):
            raise BrokenFrame("request announces %d bytes of text" % length)
        parts = payload[_TEXT.size : end].decode("utf-8", "surrogateescape").split(_SEPARATOR)
        if len(parts) < 3:
            raise BrokenFrame("request of %d parts" % len(parts))
    except struct.error as error:
        raise BrokenFrame(str(error)) from error
    return Call(parts[0], parts[1], parts[2], _pairs(parts[3:]), payload[end:])


def encode_reply(kind: int, number: int, reply: Reply) -> bytes:
    """Raises BrokenFrame for text that holds a NUL or no UTF-8, or an impossible status."""
    try:
        text = _join([reply.reason, *chain.from_iterable(reply.headers)])
        head = _ANSWER.pack(reply.status, reply.exec_us, len(text))
    except (UnicodeError, struct.error) as error:
        raise BrokenFrame(str(error)) from error
    size = _ANSWER.size + len(text) + len(reply.body)
    return b"".join((HEAD.pack(size, kind, number), head, text, reply.body))


def large_reply(number: int, reply: Reply) -> Iterator[bytes]:
    """The frames of an answer that is too large for one. Raises BrokenFrame, before the first."""
    return chain(
        [encode_reply(LARGE, number, reply._replace(body=b""))], _large_rest(number, reply)
    )


def _large_rest(number: int, reply: Reply) -> Iterator[bytes]:
    view = memoryview(reply.body)
    for at in range(0, len(view), CHUNK_BYTES):
        part = view[at : at + CHUNK_BYTES]
        yield b"".join((HEAD.pack(len(part), CHUNK, number), part))
    yield encode_reply(END, number, Reply(reply.status, reply.exec_us, "", [], b""))


def open_reply(payload: bytes) -> Tuple[int, int, str, bytes, bytes]:
    """Status, microseconds, reason, head and body; the head's headers are joined by NUL.

    Raises BrokenFrame.
    """
    try:
        status, exec_us, length = _ANSWER.unpack_from(payload)
        end = _ANSWER.size + length
        if end > len(payload):
            raise BrokenFrame("answer announces %d bytes of text" % length)
        reason, _, head = payload[_ANSWER.size : end].partition(b"\0")
        return status, exec_us, reason.decode(), head, payload[end:]
    except (struct.error, UnicodeDecodeError) as error:
        raise BrokenFrame(str(error)) from error


def _join(parts: list[str]) -> bytes:
    text = _SEPARATOR.join(parts)
    if text.count(_SEPARATOR) != len(parts) - 1:
        raise BrokenFrame("a header, path or query holds a NUL character")
    return text.encode("utf-8", "surrogateescape")


def _pairs(parts: list[str]) -> Pairs:
    if len(parts) % 2:
        raise BrokenFrame("%d header parts, an even number expected" % len(parts))
    return list(zip(parts[::2], parts[1::2]))  # noqa: B905  (no `strict` before Python 3.10)


class Decoder:
    """Cuts a byte stream into frames; holds at most one unfinished frame."""

    def __init__(self, max_payload_bytes: int = MAX_PAYLOAD_BYTES) -> None:
        self._max = max_payload_bytes
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames now complete. Raises BrokenFrame; the stream is useless after it."""
        if not self._rest:
            frames, used = self._cut(data)
            if used < len(data):
                self._rest += data[used:]
            return frames
        self._rest += data
        if not self._enough():
            return []
        whole = bytes(self._rest)
        frames, used = self._cut(whole)
        self._rest = bytearray(whole[used:])
        return frames

    def _enough(self) -> bool:
        """Whether the unfinished frame is complete: a large one is copied once, not per read."""
        if len(self._rest) < HEAD.size:
            return False
        size, kind, _ = HEAD.unpack_from(self._rest)
        self._check(size, kind)
        return len(self._rest) >= int(HEAD.size + size)

    def _cut(self, data: bytes) -> tuple[list[Frame], int]:
        frames: list[Frame] = []
        at, end = 0, len(data)
        while end - at >= HEAD.size:
            size, kind, number = HEAD.unpack_from(data, at)
            self._check(size, kind)
            start = at + HEAD.size
            if end - start < size:
                break
            at = start + size
            frames.append((kind, number, data[start:at]))
        return frames, at

    def _check(self, size: int, kind: int) -> None:
        if size > self._max or kind not in _KINDS:
            raise BrokenFrame("frame of kind %d with %d bytes" % (kind, size))
