"""Interest in a subject on one connection."""

from __future__ import annotations

from typing import Final

from headrace_bus.client.link import Link
from headrace_bus.client.stock import errors as nats_errors
from headrace_bus.errors import BusDisconnected


class Subscription:
    """Interest in a subject, replayed after each reconnect."""

    def __init__(self, link: Link, sid: int, subject: str, siblings: set[Subscription]) -> None:
        self._link = link
        self._sid = sid
        self._siblings = siblings
        self.subject: Final = subject
        siblings.add(self)

    async def unsubscribe(self) -> None:
        """End the interest now; messages under way are dropped."""
        self._link.unsubscribe_fast(self._sid)
        self._forget()

    async def drain(self, timeout_s: float = 10.0) -> None:
        """End the interest; return when the handler has had every message sent before.

        Raises BusDisconnected when that takes longer.
        """
        self._link.unsubscribe_fast(self._sid)
        try:
            if self._link.is_connected:
                await self._link.flush(timeout_s)
        except nats_errors.FlushTimeoutError as error:
            raise BusDisconnected(f"no end of {self.subject!r} within {timeout_s:g} s") from error
        except BusDisconnected:
            pass  # what was under way went with the connection
        finally:
            self._forget()

    def _forget(self) -> None:
        self._link.forget_fast(self._sid)
        self._siblings.discard(self)
