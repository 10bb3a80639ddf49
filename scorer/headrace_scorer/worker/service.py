"""Routes of one worker: /score, /swagger.json and /; a call in, an answer out."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterable
from typing import Any, Final

from . import answers, frames, inputs, lifetime, shared_file
from .console import AccessLog, log
from .flask_context import FlaskContext
from .frames import Call, Pairs, Reply
from .script import Script, user_traceback
from .swagger import Swagger

ALARM_LEAST_S: Final = 1e-4  # the system takes 0 for "never"
HTML: Final = ("content-type", "text/html; charset=utf-8")
SCORE_METHODS: Final = ("POST", "GET", "OPTIONS")


class Running:
    """One request between its arrival and its answer."""

    __slots__ = ("arguments", "call", "ids", "shared_file", "started")

    def __init__(
        self, call: Call, ids: Pairs, arguments: Any, file: shared_file.Handed | None = None
    ) -> None:
        self.call = call
        self.shared_file = file
        """Where a large answer goes."""
        self.ids = ids
        self.arguments = arguments
        self.started = time.perf_counter()

    def exec_us(self) -> int:
        return int((time.perf_counter() - self.started) * 1e6)


class Service:
    """Everything between frames and `run` that does not depend on threads or an event loop."""

    def __init__(self, script: Script, swagger: Swagger, timeout_ms: int) -> None:
        self.script = script
        self.timeout_s = timeout_ms / 1e3
        self._timeout_ms = timeout_ms
        self._swagger = swagger
        self._access = AccessLog()
        self.flask = FlaskContext()

    def begin(self, call: Call) -> tuple[Running | None, Reply | None]:
        """Either a request that `run` must now answer, or its answer at once."""
        try:
            call, file = shared_file.take(call)
        except shared_file.Lost:
            return None, Reply(0, -1, "body_lost", [], b"")
        ids = answers.ids(call)
        if ids.refused:
            return None, self._at_once(call, ids.headers, answers.error(431, ids.refused))
        if call.path != "/score":
            return None, self._other(call, ids.headers)
        if call.method not in SCORE_METHODS:
            return None, answers.reply(answers.error(405, answers.WRONG_METHOD), [], -1)
        try:
            arguments = self.script.read(call)
        except inputs.Refused as refused:
            made = answers.error(refused.status, refused.message)
            if not refused.message:  # OPTIONS
                made = answers.Made(200, [HTML, answers.NOT_FAILED], b"")
            return None, self._at_once(call, ids.headers, made)
        if self.script.wants_headers:
            arguments["request_headers"] = inputs.titled(call)
        return Running(call, ids.headers, arguments, file), None

    def finish(self, running: Running, value: Any) -> Reply:
        """The answer for what `run` returned."""
        exec_us = running.exec_us()
        try:
            lifetime.leave_if_forked(None)
            made = answers.whole(value)
        except (TypeError, ValueError, RecursionError, OverflowError) as error:
            return self.broken(running, error)
        return self._done(running, made, exec_us)

    def failed(self, running: Running, error: BaseException) -> Reply:
        """The answer for what `run` raised."""
        lifetime.leave_if_forked(error)
        if isinstance(error, (answers.Unsendable, frames.BrokenFrame)):
            return self.broken(running, error)
        if _is_timeout(error) and self._late(running):
            made = answers.error(500, "Scoring timeout after %d ms" % self._timeout_ms, True)
        else:
            made = answers.error(500, answers.RUN_RAISED, True)
        log.error("Encountered Exception: %s", user_traceback(error))
        return self._done(running, made, -1)

    def broken(self, running: Running, error: BaseException) -> Reply:
        """The answer when what `run` returned cannot be sent."""
        log.error("Encountered Exception: %s", user_traceback(error))
        return self._done(running, answers.error(500, answers.INTERNAL), -1)

    def frame(self, number: int, reply: Reply) -> bytes:
        """A whole answer as it leaves; one that cannot be encoded leaves as a broken answer."""
        try:
            return frames.encode_reply(frames.ANSWER, number, reply)
        except frames.BrokenFrame as error:
            return self._unsendable(number, error)

    def large(self, number: int, reply: Reply) -> Iterable[bytes]:
        """The frames of an answer over WHOLE_BYTES."""
        try:
            return frames.large_reply(number, reply)
        except frames.BrokenFrame as error:
            return [self._unsendable(number, error)]

    @staticmethod
    def _unsendable(number: int, error: Exception) -> bytes:
        log.error("Encountered Exception: the answer cannot be sent: %s", error)
        broken = answers.reply(answers.error(500, answers.INTERNAL), [], -1)
        return frames.encode_reply(frames.ANSWER, number, broken)

    def head(self, running: Running, made: answers.Made) -> Reply:
        """Status and headers of a streamed answer."""
        lifetime.leave_if_forked(None)
        return answers.reply(made, running.ids, -1)

    def streamed(self, running: Running, status: int, size: int) -> None:
        self._access.write(running.call, status, running.started, size)

    def _late(self, running: Running) -> bool:
        return time.perf_counter() - running.started >= self.timeout_s

    def _done(self, running: Running, made: answers.Made, exec_us: int) -> Reply:
        self._access.write(running.call, made.status, running.started, len(made.body))
        reply = answers.reply(made, running.ids, exec_us)
        return reply if running.shared_file is None else running.shared_file.give(reply)

    def _at_once(self, call: Call, ids: Pairs, made: answers.Made) -> Reply:
        self._access.write(call, made.status, time.perf_counter(), len(made.body))
        return answers.reply(made, ids, -1)

    def _other(self, call: Call, ids: Pairs) -> Reply:
        if call.path not in ("/", "/swagger.json"):
            return answers.reply(answers.error(404, answers.UNKNOWN_PATH), [], -1)
        if call.method not in ("GET", "HEAD"):
            return answers.reply(answers.error(405, answers.WRONG_METHOD), [], -1)
        if call.path == "/":
            made = answers.Made(200, [HTML], b"Healthy")
        else:
            made = self._swagger.answer(call.query)
        return answers.reply(made, ids, -1)


class Alarm:
    """Raises TimeoutError in the main thread: seconds from now when called; 0 takes it off.

    The system's timer is set anew for each `run`, as the script may have used it, and left to ring
    when an alarm is taken off. Where a script has a handler of its own in place of this one, the
    timer stays its own, and the scorer ends a `run` that takes too long.
    """

    def __init__(self) -> None:
        self._due = 0.0
        self._handler = self._ring
        signal.signal(signal.SIGALRM, self._handler)

    def __call__(self, seconds: float) -> None:
        if seconds <= 0:
            self._due = 0.0
            return
        self._due = time.monotonic() + seconds
        if signal.getsignal(signal.SIGALRM) is self._handler:
            signal.setitimer(signal.ITIMER_REAL, seconds)

    def _ring(self, signum: int, frame: Any) -> None:
        if not self._due:
            return
        left = self._due - time.monotonic()
        if left > 0:
            signal.setitimer(signal.ITIMER_REAL, max(left, ALARM_LEAST_S))
            return
        raise TimeoutError("run() did not finish in time")


def _is_timeout(error: BaseException) -> bool:
    """asyncio's own class before Python 3.11 too; who raises that has imported it."""
    own = getattr(sys.modules.get("asyncio"), "TimeoutError", TimeoutError)
    return isinstance(error, (TimeoutError, own))
