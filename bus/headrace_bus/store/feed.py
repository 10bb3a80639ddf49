"""An ordered feed of a stream: the last message of each subject, then each new one as it comes.

It says when it is broken (a gap, silence, a lost server) and is then thrown away: whoever reads it
opens another one, which begins with what is there. Stock watchers are blind for up to 20 s after a
restart of the server (nats.md 0, trap 7).
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

from headrace_bus.client.connection import Bus, Message, Subscription
from headrace_bus.store.jetstream import call
from headrace_telemetry.clock import monotonic

HEARTBEAT_S: Final = 1.0
SILENCE_S: Final = 3.0  # three heartbeats missed: the server forgot the feed
_NS: Final = 1_000_000_000


class Delivery(NamedTuple):
    """One message of the feed."""

    subject: str
    sequence: int
    headers: Mapping[str, str]
    data: bytes


class Feed:
    """Made by `open`, ended by `close`."""

    def __init__(self, bus: Bus, stream: str, deliver: Callable[[Delivery], None]) -> None:
        self._bus = bus
        self._stream = stream
        self._name = uuid.uuid4().hex
        self._deliver = deliver
        self._expected = 1
        self._heard = monotonic()
        self._subscription: Subscription | None = None
        self.caught_up = asyncio.Event()
        """Set when everything stored before `open` was delivered."""
        self.broken = False

    @classmethod
    async def open(
        cls,
        bus: Bus,
        stream: str,
        subjects: Sequence[str],
        deliver: Callable[[Delivery], None],
        *,
        headers_only: bool,
    ) -> Self:
        """`subjects` are patterns of which none covers another.

        Raises JetStreamRefused, BusDisconnected.
        """
        feed = cls(bus, stream, deliver)
        # A delivery bears the subject it was stored under, so it needs a subscription of its own;
        # an inbox gives a name that these credentials may listen to, and others may get it too.
        name = bus.open_inbox(_ignore)
        name.close()
        feed._subscription = await bus.subscribe(f"{name.subject}.{feed._name}", feed._receive)
        try:
            await feed._create(subjects, headers_only=headers_only)
        except BaseException:
            await feed.close()
            raise
        return feed

    @property
    def alive(self) -> bool:
        """Whether what was delivered so far has no hole and more would come."""
        return not self.broken and monotonic() - self._heard < SILENCE_S

    async def close(self) -> None:
        """End it; the server forgets it now, or after a while when it does not hear us."""
        if self._subscription is not None:
            await self._subscription.unsubscribe()
            if self._bus.connected:
                self._bus.publish(f"$JS.API.CONSUMER.DELETE.{self._stream}.{self._name}", b"")

    async def _create(self, subjects: Sequence[str], *, headers_only: bool) -> None:
        assert self._subscription is not None
        config: dict[str, Any] = {
            "name": self._name,
            "deliver_policy": "last_per_subject",
            "deliver_subject": self._subscription.subject,
            "ack_policy": "none",
            "max_deliver": 1,
            "replay_policy": "instant",
            "headers_only": headers_only,
            "flow_control": True,
            "idle_heartbeat": int(HEARTBEAT_S * _NS),
            "inactive_threshold": int(2 * SILENCE_S * _NS),
            "mem_storage": True,
            "num_replicas": 1,
        }
        api = f"CONSUMER.CREATE.{self._stream}.{self._name}"
        if len(subjects) == 1:
            # Named in the call as well, so that rights can hold it to some subjects.
            config["filter_subject"] = subjects[0]
            api += f".{subjects[0]}"
        else:
            config["filter_subjects"] = list(subjects)
        made = await call(self._bus, api, {"stream_name": self._stream, "config": config})
        self._heard = monotonic()
        if made.get("num_pending", 0) == 0 and self._expected == 1:
            self.caught_up.set()

    def _receive(self, message: Message) -> None:
        self._heard = monotonic()
        headers = message.headers or {}
        if "Status" in headers:
            self._keep_flowing(message, headers)
            return
        sequence, number, pending = _position(message.reply)
        if number != self._expected:
            self.broken = True
        if self.broken:
            return
        self._expected += 1
        self._deliver(Delivery(message.subject, sequence, headers, message.data))
        if pending == 0:
            self.caught_up.set()

    def _keep_flowing(self, message: Message, headers: Mapping[str, str]) -> None:
        """Flow control wants an answer; a heartbeat says what should have come by now."""
        answer = message.reply or headers.get("Nats-Consumer-Stalled", "")
        if answer:
            self._bus.publish(answer, b"")
        last = headers.get("Nats-Last-Consumer")
        if last is not None and int(last) >= self._expected:
            self.broken = True


def _position(reply: str) -> tuple[int, int, int]:
    """Stream sequence, number in this feed and what is left, out of `$JS.ACK...`."""
    words = reply.split(".")
    # The longer form of newer servers has a domain and an account's hash in front.
    first = 5 if len(words) < 11 else 7
    return int(words[first]), int(words[first + 1]), int(words[first + 3])


def _ignore(_: Message) -> None:
    pass
