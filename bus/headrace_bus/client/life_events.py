"""What a connection tells its owner: lost, there again, closed for good."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from headrace_bus.client.stock import errors as nats_errors

log = structlog.get_logger(__name__)

Callback = Callable[[], None]


class LifeEvents:
    """Callbacks by event, and nats-py's coroutines that call them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.closing = False
        """The owner asked for the end: nothing is reported any more."""
        self.links = 1
        """Connections there have been."""
        self.on_disconnect: list[Callback] = []
        self.on_reconnect: list[Callback] = []
        self.on_closed: list[Callback] = []

    async def report(self, error: Exception) -> None:
        """Never raises: an exception in here would end nats-py's tasks."""
        if isinstance(error, nats_errors.Error) and not isinstance(
            error, nats_errors.UnexpectedEOF
        ):
            log.warning("the bus reports an error", error=str(error), bus=self._name)
        else:
            log.debug("a NATS server cannot be reached", error=repr(error))

    async def disconnected(self) -> None:
        if not self.closing:
            log.warning("the bus lost its server", bus=self._name)
            _call(self.on_disconnect)

    async def reconnected(self) -> None:
        self.links += 1
        log.info("the bus has a server again", bus=self._name)
        _call(self.on_reconnect)

    async def ended(self) -> None:
        if not self.closing:
            log.error("the bus is closed for good", bus=self._name)
            _call(self.on_closed)


def _call(callbacks: list[Callback]) -> None:
    for callback in callbacks:
        try:
            callback()
        except Exception:  # somebody else's callback must not stop the reconnect
            log.exception("a callback of the bus failed")
