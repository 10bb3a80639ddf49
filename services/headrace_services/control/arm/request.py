"""One request on the ARM wire, taken apart and bounded, and the answer to it."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final
from urllib.parse import unquote_to_bytes

from aiohttp import web

from headrace_api import arm
from headrace_api.errors import HeadraceError, InvalidInput
from headrace_state.roles import Principal

MAX_BODY_BYTES: Final = 4 * 1024 * 1024
MAX_SEGMENT_CHARS: Final = 1024
MAX_DEPTH: Final = 64  # of objects and arrays in a body
BODY_TIMEOUT_S: Final = 30.0  # a client that is silent for so long within a body is gone
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


class PayloadTooBig(HeadraceError, ValueError):
    """A body over the limit of this route."""

    code: ClassVar[str] = "RequestEntityTooLarge"
    status: ClassVar[int] = 413


class UnsupportedMediaType(HeadraceError, ValueError):
    """A body in a form that the route does not read."""

    code: ClassVar[str] = "UnsupportedMediaType"
    status: ClassVar[int] = 415


class RequestTimeout(HeadraceError, TimeoutError):
    """The client went silent in the middle of its request."""

    code: ClassVar[str] = "RequestTimeout"
    status: ClassVar[int] = 408


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a handler sees of a request."""

    principal: Principal
    path: Mapping[str, str]
    """Decoded path parameters, as the caller wrote them."""
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)
    target: str = ""
    """The request path, decoded, without its query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """JSON to send; None sends an empty body."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> web.Response:
        if self.body is None:
            return web.Response(status=self.status, headers=self.headers)
        return web.json_response(self.body, status=self.status, headers=self.headers)


Handler = Callable[[Call], Awaitable[Answer]]


def listing(values: Iterable[Mapping[str, Any]]) -> Answer:
    """A list as ARM carries it, whole."""
    return Answer(body=arm.collection(values))


def path_segments(raw_path: str) -> list[str]:
    """Split a raw request path and decode each segment by itself.

    Raises InvalidInput on what could be taken for more than one segment, or for another one.
    """
    path = raw_path.partition("?")[0]
    if not path.startswith("/"):
        raise InvalidInput("the request path does not begin with '/'", target="path")
    return [_decoded(part) for part in path[1:].split("/")]


def _decoded(part: str) -> str:
    try:
        text = unquote_to_bytes(part).decode()
    except UnicodeError:
        raise InvalidInput(f"{part!r} in the path is not UTF-8", target="path") from None
    if text in (".", "..") or "/" in text or "\\" in text or _CONTROL.search(text):
        raise InvalidInput(
            f"{part!r} in the path is not allowed: no '..', slash or control character in a name",
            target="path",
        )
    if len(text) > MAX_SEGMENT_CHARS:
        raise InvalidInput(
            f"a path segment of {len(text)} characters exceeds the limit of {MAX_SEGMENT_CHARS}",
            target="path",
        )
    return text


async def read_object(request: web.Request) -> dict[str, Any]:
    """The JSON object in the body; {} when a POST has none.

    Raises PayloadTooBig over MAX_BODY_BYTES, UnsupportedMediaType, InvalidInput.
    """
    data = await _read_bounded(request)
    if not data and request.method == "POST":
        return {}
    if "json" not in request.content_type:
        raise UnsupportedMediaType(
            f"a body of type {request.content_type!r} is not supported here: send application/json",
            target="Content-Type",
        )
    return parse_object(data)


async def _read_bounded(request: web.Request) -> bytes:
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise _too_big(request.content_length or 0)
    data = bytearray()
    try:
        while not request.content.at_eof():
            async with asyncio.timeout(BODY_TIMEOUT_S):
                data += await request.content.readany()
            if len(data) > MAX_BODY_BYTES:
                raise _too_big(len(data))
    except web.RequestPayloadError:
        raise InvalidInput(
            "the body does not match its length or its Transfer-Encoding", target="body"
        ) from None
    except TimeoutError:
        raise RequestTimeout(f"the body stalled for {BODY_TIMEOUT_S:g} s", target="body") from None
    return bytes(data)


def _too_big(size_bytes: int) -> PayloadTooBig:
    return PayloadTooBig(
        f"a body of {size_bytes} bytes or more exceeds the limit of {MAX_BODY_BYTES} bytes",
        target="body",
    )


def parse_object(data: bytes) -> dict[str, Any]:
    """Raises InvalidInput when the bytes are no JSON object of plain text and finite numbers."""
    try:
        value = json.loads(data, parse_constant=_refuse_constant, parse_float=_finite)
        _require_shallow([value] if not isinstance(value, dict | list) else value)
        if _SURROGATE.search(data):
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        words = "too deeply nested" if isinstance(error, RecursionError) else str(error)
        raise InvalidInput(f"the body is not valid JSON: {words}", target="body") from None
    if not isinstance(value, dict):
        raise InvalidInput(
            f"the body is {_kind(value)} where a JSON object is expected", target="body"
        )
    return value


def object_at(body: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The object under `key`, {} when the key is absent. Raises InvalidInput on null or others."""
    value = body.get(key, {})
    if isinstance(value, dict):
        return value
    raise InvalidInput(f"{key!r} is {_kind(value)} where an object is expected", target=key)


def text_at(body: Mapping[str, Any], key: str, default: str = "") -> str:
    """The text under `key`; absent and null give the default. Raises InvalidInput on others."""
    value = body.get(key)
    if value is None:
        return default
    if isinstance(value, str):
        return value
    raise InvalidInput(f"{key!r} is {_kind(value)} where text is expected", target=key)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "text", bool: "a boolean"}
    return "null" if value is None else names.get(type(value), "a number")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is larger than any number can be")
    return number


def _require_shallow(value: Any) -> None:
    """What is deeper than any resource would exhaust the stack of whoever walks it later."""
    level = [value]
    for _ in range(MAX_DEPTH):
        below = (one.values() if isinstance(one, dict) else one for one in level)
        level = [child for some in below for child in some if isinstance(child, dict | list)]
        if not level:
            return
    raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
