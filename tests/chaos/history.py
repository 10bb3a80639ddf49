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

    def lawful(self, begun_s: float, ended_s: float) -> bool:
        """Whether a connection could break because its ingress was down."""
        return any(begun_s <= until and since <= ended_s for since, until in self.down)
