"""What stands before a body, as one text: its parts joined by NUL, in UTF-8.

    request   method, path, query, then name and value of each header
    answer    name and value of each header

A scorer passes it between the bus and a worker's frame as it is; only the two ends look inside.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Final

Headers = tuple[tuple[str, str], ...]

_NUL: Final = "\0"
_REQUEST_PARTS: Final = 3


def request_head(method: str, path: str, query: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """A NUL inside a part would forge a header, and is dropped."""
    return _join([method, path, query, *chain.from_iterable(headers)])


def answer_head(headers: Iterable[tuple[str, str]]) -> bytes:
    return _join([*chain.from_iterable(headers)])


def with_header(head: bytes, name: str, value: str) -> bytes:
    """A request's head and one more header, neither with a NUL in it."""
    return b"%b\0%b\0%b" % (head, name.encode(), value.encode())


def with_answer_header(head: bytes, name: str, value: str) -> bytes:
    """As `with_header`, of an answer, whose head may be empty."""
    return with_header(head, name, value) if head else f"{name}{_NUL}{value}".encode()


def last_header(head: bytes) -> tuple[str, str]:
    """Name and value of the last header of a request or an answer; empty without one."""
    name, _, value = head[_last(head) :].partition(b"\0")
    return name.decode("utf-8", "replace"), value.decode("utf-8", "replace")


def without_last(head: bytes) -> bytes:
    """The head without its last header."""
    return head[: max(0, _last(head) - 1)]


def _last(head: bytes) -> int:
    return head.rfind(b"\0", 0, max(0, head.rfind(b"\0"))) + 1


def is_request_head(head: object) -> bool:
    """Whether a worker can take it apart."""
    if type(head) is not bytes:
        return False
    separators = head.count(b"\0")
    return separators >= _REQUEST_PARTS - 1 and not separators % 2


def split_request(head: bytes) -> tuple[str, str, str, Headers]:
    """Method, path, query and headers of what `is_request_head` holds for one."""
    method, path, query, *rest = _split(head)
    return method, path, query, tuple(zip(rest[::2], rest[1::2], strict=True))


def split_answer(head: bytes) -> Headers:
    """Of any bytes: they come from a user's process."""
    return tuple(zip(*columns(head), strict=True))


def columns(head: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names and values of an answer's headers, as many of these as of those."""
    parts = _split(head)
    return tuple(parts[:-1:2]), tuple(parts[1::2])


def _join(parts: list[str]) -> bytes:
    text = _NUL.join(parts)
    if parts and text.count(_NUL) != len(parts) - 1:
        text = _NUL.join(part.replace(_NUL, "") for part in parts)
    return text.encode("utf-8", "surrogateescape")


def _split(head: bytes) -> list[str]:
    return head.decode("utf-8", "surrogateescape").split(_NUL)
