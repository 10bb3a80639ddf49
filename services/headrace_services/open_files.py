"""How many files this process may have open, and how many of them connections may take."""

from __future__ import annotations

import contextlib
import resource
from typing import Final

ENOUGH_FILES: Final = 65_536


def raise_limit() -> None:
    """Raise the soft limit of open files as far as the system allows, up to ENOUGH_FILES."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH_FILES if hard == resource.RLIM_INFINITY else min(hard, ENOUGH_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # some systems allow less than they say
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def share(part: float, most: int) -> int:
    """That part of the soft limit, as a number of connections: at least 1, at most `most`."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if soft == resource.RLIM_INFINITY else max(1, min(most, int(soft * part)))
