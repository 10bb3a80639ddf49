"""What becomes of the requests of a dead worker (design 3.1, Loss). Pure.

A death makes everything that ran in the worker suspect. A suspect gets one more attempt, alone in a
worker; dying alone makes it poison. What had not started is innocent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from headrace_scorer.job import Job

BUDGET_SHARE: Final = 0.2  # of active requests that may be retried at once
BUDGET_MIN: Final = 3
DIED: Final = "worker_died"
TIMEOUT: Final = "timeout"
LIVENESS: Final = "liveness"
CANCELLED: Final = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """Each job of the dead worker is in exactly one of these."""

    innocent: tuple[Job, ...]
    """Run as if nothing had happened."""
    suspect: tuple[Job, ...]
    """Run alone."""
    lost: tuple[tuple[Job, str], ...]
    """Answer FAILED with this reason."""


def judge(
    jobs: Sequence[Job], *, asynchronous: bool, alone: bool, idempotent: bool, why: str, late: float
) -> Verdicts:
    """`why` is the reason we killed it, or DIED; `late`: jobs sent before this ran too long."""
    started = len(jobs) if asynchronous else min(1, len(jobs))
    innocent = list(jobs[started:])
    suspect: list[Job] = []
    lost: list[tuple[Job, str]] = []
    for job in jobs[:started]:
        if job.cancelled:
            lost.append((job, CANCELLED))
        elif why == TIMEOUT and job.sent_s <= late:
            lost.append((job, TIMEOUT))
        elif not idempotent or job.chunks or (alone and job.deaths):
            lost.append((job, why))
        elif why == TIMEOUT:
            innocent.append(job)
        elif why == LIVENESS and not asynchronous:
            lost.append((job, LIVENESS))
        else:
            suspect.append(job)
    return Verdicts(innocent=tuple(innocent), suspect=tuple(suspect), lost=tuple(lost))


def retries_at_once(active: int) -> int:
    """How many suspects may run at the same time, each alone in its worker."""
    return max(BUDGET_MIN, int(active * BUDGET_SHARE))


def restart_delay_s(deaths_before_ready: int, first_s: float, longest_s: float) -> float:
    """0 for a worker that had been ready; else doubling from first_s to longest_s."""
    if deaths_before_ready == 0:
        return 0.0
    return float(min(longest_s, first_s * 2.0 ** min(deaths_before_ready - 1, 16)))
