"""The sockets of the control process, and what serves HTTP on them."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import AsyncExitStack
from functools import partial
from typing import Final, cast

from aiohttp import web

from headrace_api.errors import Conflict
from headrace_services.control.arm.connection import (
    MAX_HEAD_BYTES,
    PARSED_FIELDS,
    ArmConnection,
)

BACKLOG: Final = 512  # connections
KEEP_ALIVE_S: Final = 75.0
READ_BUFFER_BYTES: Final = 1024 * 1024  # an upload hops to a thread once for each so many


def listen(host: str, port: int, flag: str = "--port") -> socket.socket:
    """Raises Conflict. The socket is bound first, so that no second control starts any work."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
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


async def serve(
    stack: AsyncExitStack,
    application: web.Application,
    listener: socket.socket,
    drain_s: float,
    context: ssl.SSLContext | None = None,
) -> web.Server:
    """Serve on a bound socket until `stack` is closed; requests in progress get `drain_s`."""
    runner = web.AppRunner(application, shutdown_timeout=drain_s)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    server = cast(web.Server, runner.server)
    loop = asyncio.get_running_loop()
    # A site of aiohttp makes connections of its own class only.
    connection = partial(
        ArmConnection,
        server,
        loop=loop,
        access_log=None,  # type: ignore[arg-type]  # it takes None, as AppRunner passes it
        keepalive_timeout=KEEP_ALIVE_S,
        max_line_size=MAX_HEAD_BYTES,
        max_field_size=MAX_HEAD_BYTES,
        max_headers=PARSED_FIELDS,
        read_bufsize=READ_BUFFER_BYTES,
    )
    accepting = await loop.create_server(connection, sock=listener, ssl=context, backlog=BACKLOG)
    stack.callback(accepting.close)
    return server
