"""The event loop of an `async def run`, whose timers end when they are due."""

from __future__ import annotations

import asyncio
import select
import selectors
from typing import Any, Final, Optional

MOST_DESCRIPTOR: Final = 1023  # that `select` can look at


def new() -> asyncio.AbstractEventLoop:
    """A loop of the user's policy; where that is asyncio's own, with finer timers.

    asyncio rounds each wait up to a whole millisecond, so that a sleep of 20 ms takes 20.6 in the
    mean, and all that is due within one ends in one moment, to be served one after the other.
    """
    loop = asyncio.new_event_loop()
    if type(loop) is not asyncio.SelectorEventLoop or not hasattr(selectors, "EpollSelector"):
        return loop
    selector = _fine_selector()
    if selector.fileno() > MOST_DESCRIPTOR:
        selector.close()
        return loop
    loop.close()
    return asyncio.SelectorEventLoop(selector)


def _fine_selector() -> Any:
    class Fine(selectors.EpollSelector):
        """epoll counts milliseconds and `select` microseconds, and an epoll can be selected."""

        def select(self, timeout: Optional[float] = None) -> Any:
            if timeout is not None and timeout > 0:
                select.select((self.fileno(),), (), (), timeout)
                timeout = 0
            return super().select(timeout)

    return Fine()
