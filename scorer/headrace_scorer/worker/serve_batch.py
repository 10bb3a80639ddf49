"""The loop of a worker whose `run` is batched: what waits together is one call, main thread."""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Deque, Final, List, Tuple

from . import batching, frames
from .control import Control
from .outbox import Outbox
from .service import Alarm, Running, Service

READ_BYTES: Final = 256 * 1024
CANCELLED: Final = frames.Reply(0, -1, "cancelled", [], b"")

Started = Tuple[int, Running]


class BatchLoop:
    """Reads what is there, waits a moment for company, runs it at once, answers each."""

    def __init__(
        self, service: Service, batch: batching.Batch, data: socket.socket, control: Control
    ) -> None:
        self._service = service
        self._batch = batch
        self._data = data
        self._control = control
        self._alarm = Alarm()
        self._decoder = frames.Decoder()
        self._view = memoryview(bytearray(READ_BYTES))
        self._poll = select.poll()
        self._poll.register(data.fileno(), select.POLLIN)
        self._waiting: Deque[Tuple[int, frames.Call]] = deque()
        self._before = 1
        self._out = Outbox(data)

    def run(self) -> None:
        """Return when the scorer has closed the socket."""
        while self._waiting or self._read():
            if not self._gather():
                return
            size = min(len(self._waiting), self._batch.max_size)
            taken = [self._waiting.popleft() for _ in range(size)]
            self._before = size
            self._serve(taken)
            self._out.flush()

    def _read(self) -> bool:
        """Take one piece off the socket, waiting for it; False at its end."""
        size = self._data.recv_into(self._view)
        for _, number, payload in self._decoder.feed(bytes(self._view[:size])):
            self._waiting.append((number, frames.decode_call(payload)))
        return size > 0

    def _gather(self) -> bool:
        """Wait until the batch is worth running; False at the end of the socket."""
        began = time.perf_counter()
        while len(self._waiting) < self._batch.max_size:
            delay_s = batching.wait_s(len(self._waiting), self._before, self._batch)
            left_s = max(0.0, delay_s - (time.perf_counter() - began))
            if not self._poll.poll(left_s * 1e3):
                return True
            if not self._read():
                return False
        return True

    def _serve(self, taken: list[tuple[int, frames.Call]]) -> None:
        started: List[Started] = []
        for number, call in taken:
            if self._control.cancelled(number):
                self._hold(frames.END, number, CANCELLED)
                continue
            running, reply = self._service.begin(call)
            if running is not None:
                started.append((number, running))
            elif reply is not None:
                self._hold(frames.ANSWER, number, reply)
        if started:
            self._together(started)

    def _together(self, started: list[Started]) -> None:
        try:
            values = self._timed(
                batching.call, [_input(running) for _, running in started], started
            )
        except BaseException as error:  # noqa: BLE001  (the user's code; sys.exit() too)
            if len(started) == 1 or started[0][1].exec_us() >= self._service.timeout_s * 1e6:
                self._all_failed(started, error)  # each alone could take as long again
            else:
                self._apart(started)
            return
        for (number, running), value in zip(started, values):  # noqa: B905  (Python 3.8)
            self._answer(number, running, value)

    def _all_failed(self, started: list[Started], error: BaseException) -> None:
        for number, running in started:
            self._hold(frames.ANSWER, number, self._service.failed(running, error))

    def _apart(self, started: list[Started]) -> None:
        """The batch raised: each alone, so that only the one at fault fails."""
        for number, running in started:
            if self._control.cancelled(number):
                self._hold(frames.END, number, CANCELLED)
                continue
            try:
                value = self._timed(batching.single, _input(running), [(number, running)])
            except BaseException as error_of_one:  # noqa: BLE001  (the user's code)
                self._hold(frames.ANSWER, number, self._service.failed(running, error_of_one))
            else:
                self._answer(number, running, value)
            self._out.flush()

    def _timed(self, how: Callable[..., Any], what: Any, started: list[Started]) -> Any:
        """Call the script under the scoring timeout; the time in `run` begins now."""
        now = time.perf_counter()
        for _, running in started:
            running.started = now
        self._alarm(self._service.timeout_s)
        try:
            return how(self._batch.function, what)
        finally:
            self._alarm(0)

    def _answer(self, number: int, running: Running, value: Any) -> None:
        if isinstance(value, BaseException):
            reply = self._service.failed(running, value)
        else:
            reply = self._service.finish(running, value)
        self._hold(frames.ANSWER, number, reply)

    def _hold(self, kind: int, number: int, reply: frames.Reply) -> None:
        if len(reply.body) > frames.WHOLE_BYTES:
            self._out.send(self._service.large(number, reply))
        elif kind == frames.ANSWER:
            self._out.hold(self._service.frame(number, reply))
        else:
            self._out.hold(frames.encode_reply(kind, number, reply))
        self._control.forget(number)


def _input(running: Running) -> Any:
    (value,) = running.arguments.values()
    return value
