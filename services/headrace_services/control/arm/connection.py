"""Heads that are too large or no HTTP: refused in ARM's words, as everything else is.

The HTTP library's parser refuses most of them before anything of ours sees a request; what its
connection then says is a method that it lets be replaced.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, Final, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.typedefs import Handler

from headrace_api.errors import HeadraceError, InvalidInput
from headrace_services.control.arm.errors import error_response

MAX_HEAD_BYTES: Final = 32 * 1024
MAX_FIELDS: Final = 128
PARSED_FIELDS: Final = 2 * MAX_FIELDS  # past them the parser says 400, as it does to any fault
_MAX_WORDS: Final = 200  # characters
_BESIDE_FIELD: Final = len(": \r\n")


class HeadTooLarge(HeadraceError):
    """The request line and the headers are together over the limit."""

    code: ClassVar[str] = "RequestHeaderFieldsTooLarge"
    status: ClassVar[int] = 431

    def __init__(self) -> None:
        super().__init__(
            f"the request line and headers are larger than {MAX_HEAD_BYTES // 1024} KiB, "
            f"or there are more than {MAX_FIELDS} headers",
            target="headers",
        )


class ArmConnection(web.RequestHandler):
    """A client's connection, dropped at once where there are as many as may be."""

    def __init__(self, server: web.Server, *, max_connections: int, **settings: Any) -> None:
        super().__init__(server, **settings)
        self._server = server
        self._max_connections = max_connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if len(self._server.connections) > self._max_connections:
            cast("asyncio.Transport", transport).abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer bytes that the parser did not take. No line in the log: it would quote them."""
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        return _last(_refusal(exc))


def _refusal(error: HttpProcessingError) -> HeadraceError:
    if isinstance(error, LineTooLong):
        return HeadTooLarge()
    why = error.message.partition("\n")[0].rstrip(":")[:_MAX_WORDS]
    return InvalidInput(f"this is not a valid HTTP/1.1 request: {why}", target="request")


@web.middleware
async def small_heads(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The parser bounds each line alone; this bounds their sum."""
    if _size_bytes(request) <= MAX_HEAD_BYTES and len(request.raw_headers) <= MAX_FIELDS:
        return await handler(request)
    return _last(HeadTooLarge())


def _size_bytes(request: web.Request) -> int:
    line = len(request.method) + len(request.raw_path) + len("  HTTP/1.1\r\n")
    fields = sum(len(name) + len(value) + _BESIDE_FIELD for name, value in request.raw_headers)
    return line + fields + len("\r\n")


def _last(error: HeadraceError) -> web.Response:
    """On this connection."""
    answer = error_response(error, target="request")
    answer.force_close()
    return answer
