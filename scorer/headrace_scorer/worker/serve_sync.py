"""The loop of a worker whose `run` is an ordinary function: one request at a time, main thread."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any, Final

from . import answers, frames
from .control import Control
from .outbox import Outbox
from .service import Alarm, Running, Service

READ_BYTES: Final = 256 * 1024


class SyncLoop:
    """Reads requests, runs them in their order; quick answers share a write while more wait."""

    def __init__(self, service: Service, data: socket.socket, control: Control) -> None:
        self._service = service
        self._data = data
        self._control = control
        self._alarm = Alarm()
        self._out = Outbox(data)

    def run(self) -> None:
        """Return when the scorer has closed the socket."""
        decoder = frames.Decoder()
        # One buffer for all reads: a fresh one of this size costs more than the request.
        view = memoryview(bytearray(READ_BYTES))
        while True:
            size = self._read(view)
            if not size:
                return
            for _, number, payload in decoder.feed(bytes(view[:size])):
                if self._control.begin(number):
                    self._one(number, frames.decode_call(payload))

    def _read(self, view: memoryview) -> int:
        """Bytes read, 0 at the end; before it waits, everything has been answered."""
        if self._out:
            with contextlib.suppress(BlockingIOError):
                return self._data.recv_into(view, 0, socket.MSG_DONTWAIT)
            self._out.flush()
        return self._data.recv_into(view)

    def _one(self, number: int, call: frames.Call) -> None:
        if self._control.cancelled(number):
            gone = frames.Reply(0, -1, "cancelled", [], b"")
            self._send(frames.END, number, gone)
        else:
            self._score(number, call)
        self._control.forget(number)

    def _score(self, number: int, call: frames.Call) -> None:
        running, reply = self._service.begin(call)
        if running is not None:
            try:
                self._alarm(self._service.timeout_s)
                with self._service.flask.of(running.call):
                    value = self._service.script.run(**running.arguments)
                made = answers.stream_of(value)
                if made is not None:
                    self._stream(number, running, made)
                    return
                self._alarm(0)
                reply = self._service.finish(running, value)
            except BaseException as error:  # noqa: BLE001  (the user's code; sys.exit() too)
                self._alarm(0)
                reply = self._service.failed(running, error)
        if reply is not None:
            self._answer(number, reply)

    def _stream(self, number: int, running: Running, made: answers.Made) -> None:
        """The first piece is made before the status leaves, so an early error is a plain 500."""
        parts = iter(made.parts or ())
        pieces: list[Any] = []
        for first in parts:
            pieces.append(first)
            break
        headers = made.headers or answers.stream_head(pieces[0] if pieces else b"")
        head = self._service.head(running, made._replace(headers=headers))
        self._control.open_stream(number)
        self._send(frames.STREAM, number, head)
        reason, size = "", 0
        try:
            for value in _chain(pieces, parts):
                data = answers.piece(value)
                size += len(data)
                if not self._chunks(number, data):
                    reason = "cancelled"
                    break
        except BaseException as error:  # noqa: BLE001  (the user's generator)
            self._service.failed(running, error)
            reason = "timeout" if isinstance(error, TimeoutError) else "run_failed"
        finally:
            self._alarm(0)
            close = getattr(made.parts, "close", None)
            if close is not None:
                close()
        self._service.streamed(running, head.status, size)
        end = frames.Reply(head.status, running.exec_us(), reason, [], b"")
        self._send(frames.END, number, end)

    def _chunks(self, number: int, data: bytes) -> bool:
        for start in range(0, len(data), frames.CHUNK_BYTES):
            if not self._control.wait_chunk(number):
                return False
            piece = data[start : start + frames.CHUNK_BYTES]
            self._data.sendall(frames.encode(frames.CHUNK, number, piece))
        return True

    def _answer(self, number: int, reply: frames.Reply) -> None:
        if len(reply.body) > frames.WHOLE_BYTES:
            self._out.send(self._service.large(number, reply))
        else:
            self._out.hold_briefly(self._service.frame(number, reply), reply.exec_us)

    def _send(self, kind: int, number: int, reply: frames.Reply) -> None:
        self._out.flush()
        self._data.sendall(frames.encode_reply(kind, number, reply))


def _chain(first: list[Any], rest: Iterator[Any]) -> Iterator[Any]:
    yield from first
    yield from rest
