"""Whether an instance is alive, as far as an ingress can tell."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from headrace_bus.wire.liveness_bounds import AMNESTY_S, DEAF_S, INSTANCE_LIVE_S

DEATHS: Final = frozenset({"Client Closed", "Read Error"})
"""DISCONNECT reasons a process leaves behind when it ends; others come from the server."""


class Verdict(StrEnum):
    """What an ingress holds an instance for."""

    ALIVE = "alive"
    SUSPECT = "suspect"  # gets nothing new until its next heartbeat of the same epoch
    DEAD = "dead"  # its requests are lost


class Judge:
    """Judges by heartbeats and disconnects, and nobody while the ingress itself is cut off."""

    def __init__(self) -> None:
        self.connected = True
        self._judging_since = float("-inf")
        self._cut_off_since = 0.0
        self._heard_self = float("inf")  # until it has heard itself once

    def cut_off(self, now: float) -> None:
        """The ingress lost its own connection."""
        if self.connected:
            self.connected, self._cut_off_since = False, now

    def reconnected(self, now: float) -> float:
        """The connection is back; return for how many seconds the clocks stood still."""
        if self.connected:
            return 0.0
        self.connected, self._judging_since = True, now + AMNESTY_S
        return now - self._cut_off_since

    def judging(self, now: float) -> bool:
        hears = now - self._heard_self <= DEAF_S
        return self.connected and hears and now >= self._judging_since

    def heard_self(self, now: float) -> None:
        """Our own heartbeat came back: the way to the server and from it is open.

        A connection may be up and carry nothing, and a process that was frozen finds everybody
        silent; neither says a word about the instances.
        """
        if now - self._heard_self > DEAF_S:
            self._judging_since = now + AMNESTY_S
        self._heard_self = now

    def cut_off_s(self, now: float) -> float:
        """Seconds without a connection, 0 with one."""
        return 0.0 if self.connected else now - self._cut_off_since

    def silent(self, seen: float, now: float) -> Verdict:
        """Judge an instance last heard at `seen`; what could not be heard does not count."""
        if not self.judging(now):
            return Verdict.ALIVE
        return Verdict.DEAD if now - seen > INSTANCE_LIVE_S else Verdict.ALIVE

    def disconnected(self, reason: str, now: float) -> Verdict:
        """Judge an instance whose connection the server reports gone, with its reason."""
        if reason in DEATHS and self.judging(now):
            return Verdict.DEAD
        return Verdict.SUSPECT
