"""What happened in a run, second by second, and which rules were broken."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field


@dataclass
class History:
    """Lines with their time; printed as they come when `loud`."""

    loud: bool = True
    began: float = field(default_factory=time.monotonic)
    lines: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    down: list[tuple[float, float]] = field(default_factory=list)
    """Spans in which an ingress was not there, seconds into the run."""
    full: list[tuple[float, float]] = field(default_factory=list)
    """Spans in which the disk was full."""

    @property
    def now_s(self) -> float:
        return time.monotonic() - self.began

    def say(self, line: str) -> None:
        self.lines.append(f"{self.now_s:8.2f}  {line}")
        if self.loud:
            sys.stdout.write(self.lines[-1] + "\n")
            sys.stdout.flush()

    def rule(self, holds: bool, words: str) -> bool:
        """Note a rule that does not hold; returns whether it does."""
        if not holds:
            self.broken.append(words)
            self.say(f"BROKEN: {words}")
        return holds

    def was_down(self, since_s: float, until_s: float) -> bool:
        """Whether an ingress was, at any time of the span."""
        return _meet(self.down, since_s, until_s)

    def was_full(self, since_s: float, until_s: float) -> bool:
        """Whether the disk was, at any time of the span."""
        return _meet(self.full, since_s, until_s)


def _meet(spans: list[tuple[float, float]], since_s: float, until_s: float) -> bool:
    return any(since_s <= until and since <= until_s for since, until in spans)
