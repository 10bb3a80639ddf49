"""From what `run` gave back to status, headers and body; the rules of azure_behaviour.md 5.1, 6."""

from __future__ import annotations

import inspect
import json
import re
import uuid
from typing import Any, Final, NamedTuple

from .frames import Call, Pairs, Reply

SERVER_VERSION: Final = "headrace/0.1.0"
FINAL_STATUS: Final = range(200, 600)
ID_CHARS: Final = 100
MAX_HEADER_CHARS: Final = 32 * 1024  # of all headers of an answer; many clients take less
TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")  # RFC 9110 5.6.2
JSON: Final = ("content-type", "application/json")
FAILED: Final = ("x-ms-run-function-failed", "True")
NOT_FAILED: Final = ("x-ms-run-function-failed", "False")
RUN_RAISED: Final = "An unexpected error occurred in scoring script. Check the logs for more info."
INTERNAL: Final = "An unexpected internal error occurred. Check the logs for more info."
UNKNOWN_PATH: Final = (
    "The requested URL was not found on the server. "
    "If you entered the URL manually please check your spelling and try again."
)
WRONG_METHOD: Final = "The method is not allowed for the requested URL."
_PLAIN: Final = frozenset((dict, list, str, int, float, bool, type(None)))


class Unsendable(ValueError):
    """What `run` answered with is no answer that HTTP knows."""


class Made(NamedTuple):
    """An answer before the id headers are added."""

    status: int
    headers: Pairs
    body: bytes
    parts: Any = None
    """Pieces of a streamed body, as an iterable of either kind; None for a whole body."""


def error(status: int, message: str, failed: bool = False) -> Made:
    """The message as JSON, the way the original words its errors."""
    body = json.dumps({"message": message}).encode()
    return Made(status, [JSON, FAILED if failed else NOT_FAILED], body)


def whole(value: Any) -> Made:
    """An answer that leaves in one piece. Raises TypeError or ValueError when it cannot."""
    made = of_value(value)
    if made.parts is not None:
        raise TypeError("run() answered with a stream where only whole answers are possible")
    return made


def stream_of(value: Any) -> Made | None:
    """The answer for a generator or a streamed response; None for a value that is sent whole.

    Raises Unsendable for a response that no client could read.
    """
    if type(value) in _PLAIN:
        return None
    if inspect.isgenerator(value) or inspect.isasyncgen(value):
        return Made(200, [], b"", value)
    if is_response(value) and getattr(value, "is_streamed", False):
        return of_value(value)
    return None


def of_value(value: Any) -> Made:
    """Raises TypeError or ValueError when the value is not JSON, or its status no final one."""
    if is_response(value):
        return _of_response(value)
    text = json.dumps({} if value is None else value)
    return Made(200, [JSON, NOT_FAILED], text.encode())


def is_response(value: Any) -> bool:
    """A Flask response, an AMLResponse, or our look-alike: told by what they can do."""
    return (
        hasattr(value, "status_code") and hasattr(value, "get_data") and hasattr(value, "headers")
    )


def _of_response(response: Any) -> Made:
    status = int(response.status_code)
    if status not in FINAL_STATUS:
        raise Unsendable("%d is not a status of an answer: use 200 to 599" % status)
    headers = [(str(k).lower(), _flat(v)) for k, v in response.headers.items()]
    if status >= 500:
        headers = [pair for pair in headers if pair[0] != FAILED[0]] + [FAILED]
    headers = [pair for pair in headers if pair[0] != "content-length"]
    _check_headers(headers)
    if getattr(response, "is_streamed", False):
        return Made(status, headers, b"", response.response)
    return Made(status, headers, response.get_data())


def _check_headers(headers: Pairs) -> None:
    """Raises Unsendable: clients hang on such a name, and read no more than so much."""
    size = 0
    for name, value in headers:
        if TOKEN.fullmatch(name) is None:
            raise Unsendable("the header name %r is not allowed: use letters, digits, '-'" % name)
        size += len(name) + len(value)
    if size > MAX_HEADER_CHARS:
        raise Unsendable(
            "the headers have %d characters, at most %d are allowed" % (size, MAX_HEADER_CHARS)
        )


def stream_head(first: Any) -> Pairs:
    """Headers of a streamed answer, by the type of its first piece."""
    if isinstance(first, str):
        kind = "text/plain; charset=utf-8"
    elif isinstance(first, (bytes, bytearray, memoryview)):
        kind = "application/octet-stream"
    else:
        kind = "application/x-ndjson"
    return [("content-type", kind), NOT_FAILED]


def piece(value: Any) -> bytes:
    """One yielded value as bytes; anything but text and bytes is a line of JSON."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    return json.dumps(value).encode() + b"\n"


class Ids(NamedTuple):
    """The id headers of one request (azure_behaviour.md 6.4)."""

    headers: Pairs
    refused: str
    """Why the request is refused with 431; empty when it is not."""


def ids(call: Call) -> Ids:
    """Echo ids, or make a new one; refuse those over ID_CHARS characters."""
    request_id = legacy = client = trace = ""
    for name, value in call.headers:
        if name == "x-request-id":
            request_id = value
        elif name == "x-ms-request-id":
            legacy = value
        elif name == "x-ms-client-request-id":
            client = value
        elif name == "traceid":
            trace = value
    request_id = request_id or str(uuid.uuid4())
    client = client or legacy
    headers: Pairs = [("x-ms-server-version", SERVER_VERSION)]
    if len(request_id) > ID_CHARS:
        return Ids(headers, "x-request-id must not exceed %d characters" % ID_CHARS)
    headers.append(("x-request-id", request_id))
    if len(client) > ID_CHARS or len(legacy) > ID_CHARS:
        return Ids(headers, _LONG_CLIENT_ID)
    headers.append(("x-ms-request-id", legacy or client or request_id))
    if client:
        headers.append(("x-ms-client-request-id", client))
    if trace:
        headers.append(("traceid", trace))
    return Ids(headers, "")


_LONG_CLIENT_ID: Final = (
    "x-ms-request-id and x-ms-client-request-id must not exceed %d characters" % ID_CHARS
)


def reply(made: Made, more: Pairs, exec_us: int) -> Reply:
    """The whole answer; `exec_us` < 0 means that `run` did not come to its end."""
    headers = _safe(made.headers) + more
    if exec_us >= 0:
        headers.append(("x-ms-run-fn-exec-ms", "%.3f" % (exec_us / 1e3)))
    return Reply(made.status, exec_us, "", headers, made.body)


def _flat(value: Any) -> str:
    return str(value)


def _safe(headers: Pairs) -> list[tuple[str, str]]:
    """Line ends and NULs in a header of the script's would forge another one."""
    for name, value in headers:
        if not (name + value).isprintable():
            return [(_clean(one), _clean(other)) for one, other in headers]
    return headers


def _clean(text: str) -> str:
    return "".join(c for c in text if c.isprintable() or c == "\t")
