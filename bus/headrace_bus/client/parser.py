"""The server's half of the NATS protocol: bytes in any pieces in, calls on a sink out.

One pass over each piece without a regular expression or an await. A body that is not all there is
gathered in one buffer, into which the socket may write (`room`), and copied out once.
"""

from __future__ import annotations

from typing import Final, Protocol

MAX_LINE_BYTES: Final = 1024 * 1024  # an INFO that lists a large cluster
MAX_BODY_BYTES: Final = 65 * 1024 * 1024  # nats-server refuses a max_payload above 64 MiB

_BODY_BYTES: Final = 64 * 1024
_M, _H, _P, _I, _PLUS, _MINUS = b"MHPI+-"
_O: Final = ord("O")


class ProtocolError(ValueError):
    """Bytes that no NATS server sends; the connection cannot be read further."""


class Sink(Protocol):
    """Who takes what the parser finds. No method may feed the same parser."""

    def on_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, header: bytes | None
    ) -> None: ...

    def on_ping(self) -> None: ...

    def on_pong(self) -> None: ...

    def on_info(self, text: bytes) -> None: ...

    def on_error(self, text: bytes) -> None: ...


class StreamParser:
    """State of one connection's stream; the next connection takes a new one."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._deliver = sink.on_message
        self._body = memoryview(bytearray(_BODY_BYTES))  # grows to the largest message seen
        self._tail = b""  # an incomplete line
        self._open: tuple[int, bytes, bytes, int, int] | None = None  # a message still to come
        self._have = 0  # bytes of its body and line end that are gathered
        self._end = 0  # how many there will be

    def room(self) -> memoryview | None:
        """Where the next bytes of the stream belong, when a body is open; tell `wrote`."""
        return None if self._open is None else self._body[self._have : self._end]

    def wrote(self, count: int) -> None:
        """The first bytes of `room` are there."""
        self._have += count
        if self._have == self._end:
            self._finish()

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream; raises ProtocolError."""
        position = 0
        if self._open is not None:
            position = self._gather(data, 0)
        elif self._tail:
            data = self._tail + data
            self._tail = b""
        self._scan(data, position)

    def _scan(self, data: bytes, position: int) -> None:
        """The hot loop: every whole message of `data` from `position` on."""
        find, deliver, length = data.find, self._deliver, len(data)
        while position < length:
            end = find(b"\r\n", position)
            if end < 0:
                self._keep_line(data, position)
                return
            first = data[position]
            if first == _M:
                words = data[position + 4 : end].split()
                size = _size(words, 3)
                start = end + 2
                position = start + size + 2
                if position > length:
                    self._begin(words, 0, size, data, start)
                    return
                reply = words[2] if len(words) == 4 else b""
                deliver(int(words[1]), words[0], reply, data[start : start + size], None)
            elif first == _H:
                words = data[position + 5 : end].split()
                size, header = _sizes(words)
                start = end + 2
                position = start + size + 2
                if position > length:
                    self._begin(words[:-1], header, size, data, start)
                    return
                body = start + header
                reply = words[2] if len(words) == 5 else b""
                deliver(int(words[1]), words[0], reply, data[body : start + size], data[start:body])
            else:
                self._control(data[position:end])
                position = end + 2

    def _control(self, line: bytes) -> None:
        first = line[0] if line else 0
        if first == _P and line.rstrip() in (b"PING", b"PONG"):
            (self._sink.on_pong if line[1] == _O else self._sink.on_ping)()
        elif first == _MINUS:
            self._sink.on_error(line[4:].strip())
        elif first == _I and line.startswith(b"INFO"):
            self._sink.on_info(line[4:].strip())
        elif first != _PLUS:
            raise ProtocolError(f"no NATS operation starts with {line[:16]!r}")

    def _keep_line(self, data: bytes, position: int) -> None:
        self._tail = data[position:]
        if len(self._tail) > MAX_LINE_BYTES:
            raise ProtocolError(f"a line of more than {MAX_LINE_BYTES} bytes")

    def _begin(self, words: list[bytes], header: int, size: int, data: bytes, start: int) -> None:
        """Open a message whose body or line end is not all here."""
        reply = words[2] if len(words) == 4 else b""
        self._open = (int(words[1]), words[0], reply, header, size)
        self._have, self._end = 0, size + 2
        if len(self._body) < self._end:
            self._body = memoryview(bytearray(self._end))
        self._gather(data, start)

    def _gather(self, data: bytes, start: int) -> int:
        """Copy what `data` holds of the open body, and return the position after it."""
        count = min(self._end - self._have, len(data) - start)
        self._body[self._have : self._have + count] = memoryview(data)[start : start + count]
        self.wrote(count)
        return start + count

    def _finish(self) -> None:
        assert self._open is not None
        sid, subject, reply, header, size = self._open
        self._open = None
        head = bytes(self._body[:header]) if header else None
        self._deliver(sid, subject, reply, bytes(self._body[header:size]), head)


def _size(words: list[bytes], least: int) -> int:
    """The last word as a number of bytes; `words` are subject, sid[, reply], size."""
    if least <= len(words) <= least + 1 and words[-1].isdigit() and words[1].isdigit():
        size = int(words[-1])
        if size <= MAX_BODY_BYTES:
            return size
    raise ProtocolError(f"malformed message line {words!r:.200}")


def _sizes(words: list[bytes]) -> tuple[int, int]:
    """Total and header size of subject, sid[, reply], header size, total size."""
    size = _size(words, 4)
    if not words[-2].isdigit() or not 0 < int(words[-2]) <= size:
        raise ProtocolError(f"malformed message line {words!r:.200}")
    return size, int(words[-2])
