"""Sockets that accept connections: bound first, so that a clash is known before any work starts.

An event loop's own TLS server accepts without a bound and tells nobody of a connection before its
handshake is done. TlsListener counts those too.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final

from headrace_api.errors import Conflict
from headrace_telemetry.tasks import Tasks

BACKLOG: Final = 1024  # connections the kernel keeps while the loop is busy
HANDSHAKE_S: Final = 10.0
_ACCEPTED_AT_ONCE: Final = 64
_NO_FILES_PAUSE_S: Final = 1.0


def listen(host: str, port: int, flag: str = "--port") -> socket.socket:
    """A socket that listens without blocking. Raises Conflict."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise Conflict(
            f"port {port} on {host} cannot be opened: {error.strerror}",
            hint=f"choose another with {flag}, or stop the process that uses it",
            target=flag[2:],
        ) from error
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


class TlsListener:
    """Accepts on a bound socket and shakes hands.

    `may_open(handshakes)` says whether one more may begin beside so many; who may not is dropped.
    """

    def __init__(
        self,
        listener: socket.socket,
        context: ssl.SSLContext,
        connection: Callable[[], asyncio.Protocol],
        may_open: Callable[[int], bool],
    ) -> None:
        self._listener = listener
        self._context = context
        self._connection = connection
        self._may_open = may_open
        self._loop = asyncio.get_running_loop()
        self._handshakes = Tasks("tls")
        self._paused: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Accept from now on."""
        self._paused = None
        self._loop.add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Accept nothing more and drop who still shakes hands."""
        if self._paused is not None:
            self._paused.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()
        self._handshakes.cancel()

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                accepted, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                # No file is left for it. It stays readable, so looking again at once would spin.
                self._loop.remove_reader(self._listener)
                self._paused = self._loop.call_later(_NO_FILES_PAUSE_S, self.start)
                return
            if self._may_open(len(self._handshakes)):
                self._handshakes.start(self._shake_hands(accepted), "handshake")
            else:
                accepted.close()

    async def _shake_hands(self, accepted: socket.socket) -> None:
        try:
            accepted.setblocking(False)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(
                self._connection,
                accepted,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_S,
            )
        except OSError:  # TLS errors and the handshake's time-out are some
            accepted.close()
        except asyncio.CancelledError:
            accepted.close()
            raise
