"""How many failures a caller may make: a window of its own for each, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

MAX_FAILURES: Final = 10
WINDOW_S: Final = 60.0
MAX_REMEMBERED: Final = 4096  # callers; the longest silent is forgotten first


class FailureThrottle:
    """Counts failures only, so that who knows the secret is never slowed down by use."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def wait_s(self, caller: str, now_s: float) -> float:
        """How long until the caller may try again; 0 when now."""
        recent = [one for one in self._failures.get(caller, ()) if now_s - one < WINDOW_S]
        return recent[0] + WINDOW_S - now_s if len(recent) >= MAX_FAILURES else 0.0

    def failed(self, caller: str, now_s: float) -> None:
        """Remember one failure."""
        recent = [one for one in self._failures.pop(caller, []) if now_s - one < WINDOW_S]
        self._failures[caller] = [*recent, now_s][-MAX_FAILURES:]
        if len(self._failures) > MAX_REMEMBERED:
            self._failures.popitem(last=False)
