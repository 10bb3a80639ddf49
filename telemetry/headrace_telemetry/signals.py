"""SIGTERM and SIGINT as an event: how every process of the platform is asked to end."""

from __future__ import annotations

import asyncio
import signal


def asked_to_stop() -> asyncio.Event:
    """An event that either signal sets from now on. Call it on the running loop, once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
