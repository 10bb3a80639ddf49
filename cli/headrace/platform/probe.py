"""Does a service answer? One GET without an HTTP library, so that the supervisor stays small."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Final

from headrace.platform.ports import HOST

TIMEOUT_S: Final = 2.0
_ANSWER_BYTES: Final = 16 * 1024


async def ready(port: int, *, ca: Path | None = None, path: str = "/readyz") -> bool:
    """Whether 200 comes back; `ca` asks over TLS and trusts that authority only."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await _ask(port, ca, path)
    except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError):
        return False


async def _ask(port: int, ca: Path | None, path: str) -> bool:
    context = ssl.create_default_context(cafile=ca) if ca is not None else None
    name = "localhost" if context else None
    reader, writer = await asyncio.open_connection(HOST, port, ssl=context, server_hostname=name)
    try:
        request = f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n"
        writer.write(request.encode())
        status = await reader.readline()
        await reader.read(_ANSWER_BYTES)
        return status.split()[1:2] == [b"200"]
    finally:
        writer.close()
