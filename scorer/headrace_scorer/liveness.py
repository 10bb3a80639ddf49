"""Whether a worker is alive, by its answers to pings (azure_behaviour.md 1.5). Pure."""

from __future__ import annotations

from headrace_bus.wire.launch import Probe


class Watch:
    """The liveness probe of one worker; times are monotonic seconds.

    As with a container's probe, nothing is asked in the first `initial_delay`, and failures count
    until `success_threshold` answers in a row.
    """

    __slots__ = ("_met", "_missed", "_pinged_at", "_started_at")

    def __init__(self, started_at: float) -> None:
        self._started_at = started_at
        self._pinged_at: float | None = None
        self._met = 0
        self._missed = 0

    def due(self, probe: Probe, *, pong_at: float, now: float) -> bool:
        """Whether to ping now; then the last ping is judged by when a pong came last."""
        if self._pinged_at is None:
            if now - self._started_at < probe.initial_delay_s:
                return False
        elif now - self._pinged_at < max(probe.period_s, probe.timeout_s):
            return False
        else:
            self._judge(probe, answered=pong_at >= self._pinged_at)
        self._pinged_at = now
        return True

    def failed(self, probe: Probe) -> bool:
        """Whether the worker is to be replaced."""
        return self._missed >= probe.failure_threshold

    def _judge(self, probe: Probe, *, answered: bool) -> None:
        if not answered:
            self._met, self._missed = 0, self._missed + 1
            return
        self._met += 1
        if self._met >= probe.success_threshold:
            self._missed = 0
