"""What goes to one subject in one turn of the event loop leaves as one message (`wire.train`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import structlog

from headrace_bus.errors import BusDisconnected, PayloadTooLarge
from headrace_bus.wire.batch import TRAIN_BYTES, couple

log = structlog.get_logger(__name__)


class Bus(Protocol):
    """What a batch needs of it."""

    @property
    def max_payload(self) -> int: ...
    def publish(self, subject: str, data: bytes, reply: str = "") -> None: ...
    def before_write(self, work: Callable[[], None]) -> None: ...


class _Train:
    __slots__ = ("envelopes", "reply", "room_bytes")

    def __init__(self, envelope: bytes, reply: str, room_bytes: int) -> None:
        self.envelopes = [envelope]
        self.reply = reply
        self.room_bytes = room_bytes


class Batcher:
    """Envelopes that wait for the end of this turn, by subject. They leave in their order."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._waiting: dict[str, _Train] = {}

    def join(self, subject: str, envelope: bytes) -> bool:
        """Put it behind those that wait for the subject; False when none does, or it is full."""
        train = self._waiting.get(subject)
        if train is None or len(envelope) > train.room_bytes:
            return False
        train.envelopes.append(envelope)
        train.room_bytes -= len(envelope)
        return True

    def start(self, subject: str, envelope: bytes, reply: str = "") -> None:
        """Let it wait for others; who waited for the subject leaves now. Raises PayloadTooLarge."""
        size, most = len(envelope), self._bus.max_payload
        if size > most:
            raise PayloadTooLarge(size, most)
        if subject in self._waiting:
            self.depart()
        if not self._waiting:
            self._bus.before_write(self.depart)
        room = min(TRAIN_BYTES, most // 2) - size  # the couplings take less than the envelopes
        self._waiting[subject] = _Train(envelope, reply, room)

    def depart(self) -> None:
        """Send what waits, because the turn ends or something has to come behind it."""
        waiting, self._waiting = self._waiting, {}
        for subject, train in waiting.items():
            try:
                self._bus.publish(subject, couple(train.envelopes), train.reply)
            except BusDisconnected:
                # What is open is sent again after the reconnect, and what was answered with it.
                log.info("a message was not sent while NATS was away", subject=subject)
