"""One subscription for all answers: a reply subject is its prefix and an integer."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Callable, Iterator
from typing import Final

from headrace_bus.client.message import Message, make_message
from headrace_bus.errors import BusDisconnected, NoResponders, RequestTimeout

SWEEP_S: Final = 0.05  # how late a timeout may be told

Handler = Callable[[Message], None]


_BATCH: Final = struct.Struct("256Q")


def _tokens() -> Iterator[bytes]:
    """Tokens nobody guesses: instances may publish below an ingress' prefix, so that a counter
    would let one of them forge the answers of others."""
    while True:
        for token in _BATCH.unpack(os.urandom(_BATCH.size)):
            yield b"%d" % token


class Inbox:
    """A reply subject that takes any number of answers until it is closed."""

    __slots__ = ("_mux", "_token", "handler", "subject")

    def __init__(self, mux: ReplyMux, token: bytes, subject: str, handler: Handler) -> None:
        self._mux = mux
        self._token = token
        self.subject: Final = subject
        self.handler: Final = handler

    def close(self) -> None:
        """Answers that still come are dropped. A second call does nothing."""
        self._mux.remove(self._token)


class _Waiting:
    """A request without its answer."""

    __slots__ = ("future", "slot", "subject", "timeout_s")

    def __init__(
        self, future: asyncio.Future[Message], slot: int, subject: str, timeout_s: float
    ) -> None:
        self.future = future
        self.slot = slot
        self.subject = subject
        self.timeout_s = timeout_s


class ReplyMux:
    """Hands answers to requests and inboxes, and one timer ends all requests that are late."""

    def __init__(self, prefix: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._prefix = prefix + "."
        self._cut = len(self._prefix.encode())
        self._tokens = _tokens()
        self._requests: dict[bytes, _Waiting] = {}
        self._inboxes: dict[bytes, Inbox] = {}
        self._due: dict[int, set[bytes]] = {}  # tokens by the sweep that ends them
        self._timer: asyncio.TimerHandle | None = None

    @property
    def subject(self) -> str:
        """What to subscribe to."""
        return self._prefix + "*"

    def __len__(self) -> int:
        """Requests and inboxes that are open."""
        return len(self._requests) + len(self._inboxes)

    def expect(self, subject: str, timeout_s: float) -> tuple[str, asyncio.Future[Message]]:
        """A reply subject for one request, and its answer to be.

        The future raises RequestTimeout, NoResponders or, when the bus closes, BusDisconnected.
        """
        token = next(self._tokens)
        slot = int((self._loop.time() + timeout_s) / SWEEP_S) + 1
        future: asyncio.Future[Message] = self._loop.create_future()
        self._requests[token] = _Waiting(future, slot, subject, timeout_s)
        due = self._due.get(slot)
        if due is None:
            self._due[slot] = {token}
        else:
            due.add(token)
        if self._timer is None:
            self._timer = self._loop.call_later(SWEEP_S, self._sweep)
        return self._prefix + token.decode(), future

    def forget(self, reply: str) -> None:
        """Take back an `expect` whose request was never sent."""
        token = reply[len(self._prefix) :].encode()
        waiting = self._requests.pop(token, None)
        if waiting is not None:
            self._undue(waiting.slot, token)
            waiting.future.cancel()

    def open(self, handler: Handler) -> Inbox:
        token = next(self._tokens)
        inbox = self._inboxes[token] = Inbox(self, token, self._prefix + token.decode(), handler)
        return inbox

    def receive(self, subject: bytes, reply: bytes, data: bytes, header: bytes | None) -> None:
        """Every message on `subject`; answers to nothing are dropped."""
        token = subject[self._cut :]
        inbox = self._inboxes.get(token)
        if inbox is not None:
            inbox.handler(make_message(subject, reply, data, header))
            return
        waiting = self._requests.pop(token, None)
        if waiting is not None:
            self._undue(waiting.slot, token)
            self._resolve(waiting, make_message(subject, reply, data, header))

    def close(self) -> None:
        """Nothing will be answered any more: every open request fails."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._requests = self._requests, {}
        self._inboxes.clear()
        self._due.clear()
        for one in waiting.values():
            if not one.future.done():
                one.future.set_exception(BusDisconnected("the bus was closed before the answer"))

    def remove(self, token: bytes) -> None:
        """Forget an inbox."""
        self._inboxes.pop(token, None)

    def _undue(self, slot: int, token: bytes) -> None:
        due = self._due[slot]
        due.discard(token)
        if not due:
            del self._due[slot]

    def _resolve(self, waiting: _Waiting, message: Message) -> None:
        if waiting.future.done():  # the caller gave up
            return
        if message.raw_headers is not None and message.no_responders:
            waiting.future.set_exception(NoResponders(waiting.subject))
        else:
            waiting.future.set_result(message)

    def _sweep(self) -> None:
        now = self._loop.time() / SWEEP_S
        for slot in [slot for slot in self._due if slot <= now]:
            for token in self._due.pop(slot):
                one = self._requests.pop(token)
                if not one.future.done():
                    one.future.set_exception(RequestTimeout(one.subject, one.timeout_s))
        self._timer = self._loop.call_later(SWEEP_S, self._sweep) if self._due else None
