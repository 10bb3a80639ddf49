"""Whether it pays to wait for an instance that is not there yet. Pure.

After a restart of the platform, or the death of the only instance, callers wait as for a scale
from zero, inside their deadline and the limit of pending requests, instead of being refused.
"""

from __future__ import annotations

from typing import Final

from headrace_bus.wire.heartbeat import InstanceState

PATIENCE_S: Final = 10.0  # without a sign of life: by then a start has spoken, even on a busy host
_LEAVING: Final = (InstanceState.DRAINING, InstanceState.FAILED)


class ColdStartGrace:
    """What one ingress knows of the instances of a deployment that are on their way."""

    __slots__ = ("_sign", "expected")

    def __init__(self) -> None:
        self.expected = True
        """Whether control keeps instances running, so that one that is missing is being started."""
        self._sign: float | None = None

    def missed(self, now: float) -> None:
        """A request found no instance; the first one begins the wait for a sign."""
        if self._sign is None:
            self._sign = now

    def heard(self, state: InstanceState, now: float) -> None:
        """An instance spoke; it serves, or is on its way to, unless it is leaving."""
        if state not in _LEAVING:
            self._sign = now

    def starting(self, now: float) -> bool:
        """Whether an instance is known to be on its way."""
        return self.expected and self._sign is not None and now - self._sign < PATIENCE_S
