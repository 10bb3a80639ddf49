"""What serves HTTP on the sockets of the control process."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import AsyncExitStack
from functools import partial
from typing import Final, cast

from aiohttp import web

from headrace_services.control.arm.connection import (
    MAX_HEAD_BYTES,
    PARSED_FIELDS,
    ArmConnection,
)
from headrace_services.control.arm.head_timeout import HeadTimeout
from headrace_services.listening import BACKLOG, TlsListener
from headrace_telemetry.tasks import Tasks

KEEP_ALIVE_S: Final = 75.0
READ_BUFFER_BYTES: Final = 1024 * 1024  # an upload hops to a thread once for each so many


async def serve(
    stack: AsyncExitStack,
    application: web.Application,
    listener: socket.socket,
    *,
    drain_s: float,
    max_connections: int,
    context: ssl.SSLContext | None = None,
) -> None:
    """Serve on a bound socket until `stack` is closed; requests in progress get `drain_s`."""
    silence = HeadTimeout()
    application.middlewares.insert(0, silence.hear)
    runner = web.AppRunner(application, shutdown_timeout=drain_s)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    server = cast(web.Server, runner.server)
    tasks = Tasks("listener")
    stack.push_async_callback(tasks.stop)
    tasks.forever(silence.end_forever(server), "silence")
    loop = asyncio.get_running_loop()
    # A site of aiohttp makes connections of its own class only.
    connection = partial(
        ArmConnection,
        server,
        max_connections=max_connections,
        loop=loop,
        access_log=None,
        keepalive_timeout=KEEP_ALIVE_S,
        max_line_size=MAX_HEAD_BYTES,
        max_field_size=MAX_HEAD_BYTES,
        max_headers=PARSED_FIELDS,
        read_bufsize=READ_BUFFER_BYTES,
        auto_decompress=False,  # a megabyte may unpack to a thousand, for anybody
    )
    if context is None:
        accepting = await loop.create_server(connection, sock=listener, backlog=BACKLOG)
        stack.callback(accepting.close)
        return

    def may_open(handshakes: int) -> bool:
        return len(server.connections) + handshakes < max_connections

    shaking = TlsListener(listener, context, connection, may_open)
    shaking.start()
    stack.callback(shaking.close)
