"""How long a request was on its way, between machines whose clocks nobody has set alike."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Final

WINDOW_S: Final = 5.0  # a clock that stood still is known for it after one or two of these
FORGOTTEN_S: Final = 600.0  # steady clocks drift apart, by a second or more in some hours
MOST_S: Final = 30.0  # no message is later: the server cuts off who does not read
REMEMBERED: Final = 256  # ingresses


@dataclass(slots=True)
class _Window:
    """The quickest of one ingress' requests: arrival less sending, by two unrelated clocks."""

    began: float
    least_s: float = inf
    before_s: float = inf
    """The same of the window before."""


class Lateness:
    """The quickest request of the last windows is taken for one that was not late at all.

    Windows change only when a request comes, so that what waited here while the instance was
    frozen is held against those from before it.
    """

    def __init__(self) -> None:
        self._windows: dict[str, _Window] = {}

    def late_s(self, ingress_id: str, sent: float, now: float) -> float:
        """How late a request is, in seconds; `sent` by the ingress' steady clock, `now` by ours."""
        window = self._windows.get(ingress_id)
        if window is None:
            window = self._add(ingress_id, now)
        took_s = now - sent
        if now - window.began > WINDOW_S:
            before_s = window.least_s if now - window.began < FORGOTTEN_S else inf
            window.began, window.before_s, window.least_s = now, before_s, took_s
        if took_s < window.least_s:
            window.least_s = took_s
        late_s = took_s - min(window.least_s, window.before_s)
        if late_s > MOST_S:
            window.least_s, window.before_s = took_s, inf
            return 0.0
        return late_s

    def _add(self, ingress_id: str, now: float) -> _Window:
        if len(self._windows) >= REMEMBERED:
            del self._windows[next(iter(self._windows))]
        window = self._windows[ingress_id] = _Window(now)
        return window
