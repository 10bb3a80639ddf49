"""Whether a request that was lost with its instance gets another attempt."""

from __future__ import annotations

from typing import Final

ATTEMPTS: Final = 2  # the first, and one more outside any budget


def may_retry(
    *, attempt: int, idempotent: bool, answering: bool, now: float, deadline: float
) -> bool:
    """Decide for a request whose `attempt`-th instance died while it had the request.

    Never once a byte of the answer has left (`answering`), never past the deadline (monotonic
    seconds), and not where the deployment says that scoring twice does harm.
    """
    return attempt < ATTEMPTS and idempotent and not answering and now < deadline
