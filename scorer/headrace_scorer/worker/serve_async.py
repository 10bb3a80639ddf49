"""The loop of a worker whose `run` is `async def`: as many at once as the scorer sends."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import socket
from typing import Any

from . import answers, frames
from .console import log
from .control import Control
from .service import Running, Service


class AsyncLoop(asyncio.Protocol):
    """One task a request, on the event loop of the main thread."""

    def __init__(self, service: Service, control: Control) -> None:
        self._service = service
        self._control = control
        self._decoder = frames.Decoder()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._credit: dict[int, asyncio.Event] = {}
        self._closed = asyncio.Event()
        self._newest = 0
        self._out: list[bytes] = []
        """Answers that wait for the end of this turn of the loop."""
        self._in_turn = False
        self._transport: Any = None
        self._writable = asyncio.Event()
        self._writable.set()

    async def run(self, data: socket.socket) -> None:
        """Return when the scorer has closed the socket."""
        loop = asyncio.get_running_loop()
        self._control.on_cancel = lambda number: _from_thread(loop, self._cancel, number)
        self._control.on_credit = lambda number: _from_thread(loop, self._wake, number)
        data.setblocking(False)
        # A socketpair end is connected already, which is all that this wants of it.
        await loop.create_connection(lambda: self, sock=data)
        await self._closed.wait()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, exc: Any) -> None:
        self._closed.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        for _, number, payload in self._decoder.feed(data):
            task = asyncio.ensure_future(self._score(number, frames.decode_call(payload)))
            self._tasks[number] = task
            self._newest = number
            task.add_done_callback(functools.partial(self._done, number))
            if self._control.cancelled(number):
                task.cancel()  # the other socket was faster

    def _cancel(self, number: int) -> None:
        task = self._tasks.get(number)
        if task is not None:
            task.cancel()
        elif number <= self._newest:
            self._control.forget_one(number)  # answered before the cancel came

    def _wake(self, number: int) -> None:
        event = self._credit.get(number)
        if event is not None:
            event.set()

    def _done(self, number: int, task: asyncio.Task[None]) -> None:
        """A callback, because a task cancelled before its first step runs no `finally`."""
        if task.cancelled():
            self._send(frames.END, number, frames.Reply(0, -1, "cancelled", [], b""))
        elif task.exception() is not None:
            log.error("Encountered Exception: %r", task.exception())
            self._send(frames.END, number, frames.Reply(0, -1, "internal", [], b""))
        self._tasks.pop(number, None)
        self._credit.pop(number, None)
        self._control.forget_one(number)

    async def _score(self, number: int, call: frames.Call) -> None:
        running, reply = self._service.begin(call)
        if running is not None:
            try:
                with self._service.flask.of(running.call):
                    value = self._service.script.run(**running.arguments)
                    if inspect.isawaitable(value):
                        value = await _bounded(value, self._service.timeout_s)
                made = answers.stream_of(value)
                if made is not None:
                    await self._stream(number, running, made)
                    return
                reply = self._service.finish(running, value)
            except BaseException as error:  # (the user's code; a cancellation may be its own)
                if isinstance(error, asyncio.CancelledError) and self._control.cancelled(number):
                    raise
                reply = self._service.failed(running, error)
        if reply is not None:
            await self._answer(number, reply)

    async def _answer(self, number: int, reply: frames.Reply) -> None:
        if len(reply.body) <= frames.WHOLE_BYTES:
            self._leave(self._service.frame(number, reply))
            return
        for part in self._service.large(number, reply):
            await self._write(part)

    async def _stream(self, number: int, running: Running, made: answers.Made) -> None:
        size, reason, opened = 0, "", False
        parts = made.parts
        try:
            async for value in _pieces(parts):
                if not opened:
                    self._open(number, running, made, value)
                    opened = True
                data = answers.piece(value)
                size += len(data)
                await self._chunks(number, data)
        except BaseException as error:  # the user's generator may raise anything
            await _close(parts)
            ours = isinstance(error, asyncio.CancelledError) and self._control.cancelled(number)
            if ours or not opened:
                raise
            self._service.failed(running, error)
            reason = "run_failed"
        if not opened:
            self._open(number, running, made, b"")
        self._service.streamed(running, made.status, size)
        end = frames.Reply(made.status, running.exec_us(), reason, [], b"")
        self._send(frames.END, number, end)

    def _open(self, number: int, running: Running, made: answers.Made, first: Any) -> None:
        head = made._replace(headers=made.headers or answers.stream_head(first))
        frame = frames.encode_reply(frames.STREAM, number, self._service.head(running, head))
        self._credit[number] = asyncio.Event()
        self._control.open_stream(number)
        self._leave(frame)

    async def _chunks(self, number: int, data: bytes) -> None:
        event = self._credit[number]
        for start in range(0, len(data), frames.CHUNK_BYTES):
            while not self._control.try_chunk(number):
                event.clear()
                if self._control.try_chunk(number):
                    break  # credit came between the two looks
                await event.wait()
            piece = data[start : start + frames.CHUNK_BYTES]
            await self._write(frames.encode(frames.CHUNK, number, piece))

    def _send(self, kind: int, number: int, reply: frames.Reply) -> None:
        self._leave(frames.encode_reply(kind, number, reply))

    def _leave(self, frame: bytes) -> None:
        """The first answer of a turn of the loop leaves at once, the others behind it in one write.

        Each write wakes the scorer.
        """
        if self._in_turn:
            self._out.append(frame)
            return
        self._in_turn = True
        asyncio.get_running_loop().call_soon(self._end_turn)
        self._transport.write(frame)

    def _end_turn(self) -> None:
        self._in_turn = False
        self._flush()

    def _flush(self) -> None:
        out, self._out = self._out, []
        if out:
            self._transport.write(b"".join(out))

    async def _write(self, part: bytes) -> None:
        """Write behind all that was sent, and wait while the scorer is behind."""
        self._flush()
        self._transport.write(part)
        await self._writable.wait()


async def _bounded(value: Any, timeout_s: float) -> Any:
    """The result of an awaitable. Raises asyncio.TimeoutError when the time is over.

    `asyncio.wait_for` makes a task of it before Python 3.12: two turns of the loop more, each way.
    """
    late = []

    def stop(task: Any) -> None:
        late.append(task)
        task.cancel()

    timer = asyncio.get_running_loop().call_later(timeout_s, stop, asyncio.current_task())
    try:
        return await value
    except asyncio.CancelledError:
        if late:
            raise asyncio.TimeoutError from None
        raise
    finally:
        timer.cancel()


async def _pieces(parts: Any) -> Any:
    """The pieces of an iterable of either kind."""
    if hasattr(parts, "__aiter__"):
        async for value in parts:
            yield value
        return
    for value in parts:
        yield value
        await asyncio.sleep(0)  # a plain iterator must not starve the other requests


async def _close(parts: Any) -> None:
    """End a generator; other iterables have nothing to end."""
    if hasattr(parts, "aclose"):
        await parts.aclose()
    elif hasattr(parts, "close"):
        parts.close()


def _from_thread(loop: asyncio.AbstractEventLoop, callback: Any, number: int) -> None:
    # The loop may have ended, and the process is about to.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback, number)
