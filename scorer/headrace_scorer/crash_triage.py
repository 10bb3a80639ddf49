"""What becomes of the requests of a dead worker. Pure.

A death makes everything that ran in the worker suspect. A suspect gets one more attempt, alone in a
worker; dying alone makes it poison. What had not started is innocent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from headrace_scorer.execution import Execution

BUDGET_SHARE: Final = 0.2  # of active requests that may be retried at once
BUDGET_MIN: Final = 3
DIED: Final = "worker_died"
TIMEOUT: Final = "timeout"
LIVENESS: Final = "liveness"
CANCELLED: Final = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """Each execution of the dead worker is in exactly one of these."""

    innocent: tuple[Execution, ...]
    """Run as if nothing had happened."""
    suspect: tuple[Execution, ...]
    """Run alone."""
    lost: tuple[tuple[Execution, str], ...]
    """Answer FAILED with this reason."""


def judge(
    executions: Sequence[Execution],
    *,
    asynchronous: bool,
    alone: bool,
    idempotent: bool,
    why: str,
    late: float,
) -> Verdicts:
    """`why`: why we killed it, or DIED; `late`: executions sent before this ran too long."""
    started = len(executions) if asynchronous else min(1, len(executions))
    innocent = list(executions[started:])
    suspect: list[Execution] = []
    lost: list[tuple[Execution, str]] = []
    for execution in executions[:started]:
        if execution.cancelled:
            lost.append((execution, CANCELLED))
        elif why == TIMEOUT and execution.sent_s <= late:
            lost.append((execution, TIMEOUT))
        elif not idempotent or execution.chunks or (alone and execution.deaths):
            lost.append((execution, why))
        elif why == TIMEOUT:
            innocent.append(execution)
        elif why == LIVENESS and not asynchronous:
            lost.append((execution, LIVENESS))
        else:
            suspect.append(execution)
    return Verdicts(innocent=tuple(innocent), suspect=tuple(suspect), lost=tuple(lost))


def retries_at_once(active: int) -> int:
    """How many suspects may run at the same time, each alone in its worker."""
    return max(BUDGET_MIN, int(active * BUDGET_SHARE))


def restart_delay_s(deaths_before_ready: int, first_s: float, longest_s: float) -> float:
    """0 for a worker that had been ready; else doubling from first_s to longest_s."""
    if deaths_before_ready == 0:
        return 0.0
    return float(min(longest_s, first_s * 2.0 ** min(deaths_before_ready - 1, 16)))
