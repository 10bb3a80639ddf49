"""Answers that leave in one write, as each write wakes scorer, NATS, ingress and caller."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Final, List

HELD_MAX: Final = 16  # answers in one write
HELD_US: Final = 1000  # an answer waits no longer than this for company, by the mean time of `run`
NEWEST: Final = 0.0625  # weight of the newest time in the mean


class Outbox:
    """Encoded answers on their way to the scorer."""

    def __init__(self, data: socket.socket) -> None:
        self._data = data
        self._held: List[bytes] = []
        self._mean_us = 2.0 * HELD_US  # until more is known, as a slow one

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, frame: bytes) -> None:
        self._held.append(frame)

    def hold_briefly(self, frame: bytes, exec_us: int) -> None:
        """Keep it while more requests are at hand and, at the usual pace, done soon enough.

        One whose time is not known (-1) leaves at once: nothing says that the next is quick.
        """
        self._held.append(frame)
        if exec_us < 0:
            self.flush()
            return
        self._mean_us += NEWEST * (exec_us - self._mean_us)
        if len(self._held) >= HELD_MAX or len(self._held) * self._mean_us > HELD_US:
            self.flush()

    def send(self, parts: Iterable[bytes]) -> None:
        """A large answer, piece by piece, behind what is held."""
        self.flush()
        for part in parts:
            self._data.sendall(part)

    def flush(self) -> None:
        if self._held:
            self._data.sendall(b"".join(self._held))
            self._held.clear()
