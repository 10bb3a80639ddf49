"""All that is taken from nats-py, imported without its WebSocket transport, which we never use.

That one imports aiohttp wherever it is installed, with its client, resolver and certificates: a
third of the time a scorer takes to start.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _absent(name: str) -> Iterator[None]:
    """Let imports of a module fail, unless somebody has it already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # how the import system says "not there"
    try:
        yield
    finally:
        del sys.modules[name]


with _absent("aiohttp"):
    from nats import errors
    from nats.aio.client import PING_PROTO, Client, Srv
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription
    from nats.aio.transport import Transport
    from nats.js import JetStreamContext
    from nats.nuid import NUID

__all__ = [
    "NUID",
    "PING_PROTO",
    "Client",
    "JetStreamContext",
    "Msg",
    "Srv",
    "Subscription",
    "Transport",
    "errors",
]
