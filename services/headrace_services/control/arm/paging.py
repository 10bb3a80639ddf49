"""Pages of a collection: `$top` bounds all of it, `$maxpagesize` one page, `$skip` goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

from headrace_api import arm
from headrace_api.errors import InvalidInput
from headrace_services.control.arm.request import Answer, Call

MAX_TOP: Final = 1_000_000
PAGE: Final = 1_000  # values; bodies stay small and a list of 1,000 is one answer
_MARK_CHARS: Final = 16


def paged(call: Call, base_url: str, bodies: Sequence[Mapping[str, Any]]) -> Answer:
    """One page of `bodies`, which are in order and carry their ids.

    `$skip` is a position, or what a `nextLink` carried: a position and a mark of the value before
    it, so that a page goes on where the last one ended though values came or went in front.
    Raises InvalidInput.
    """
    begin = _begin(call.query.get("$skip", ""), bodies)
    left = _count(call, "$top", MAX_TOP)
    size = min(_count(call, "$maxpagesize", PAGE), PAGE, left)
    page = bodies[begin : begin + size]
    left -= len(page)
    more = bool(page) and left > 0 and begin + size < len(bodies)
    link = _link(call, base_url, begin + size, page[-1], left) if more else None
    return Answer(body=arm.collection(page, link))


def _link(call: Call, base_url: str, at: int, last: Mapping[str, Any], left: int) -> str:
    query = {**call.query, "$skip": f"{at}-{_mark(last)}"}
    if "$top" in query:
        query["$top"] = str(left)
    return f"{base_url}{quote(call.target)}?{urlencode(query, safe='$')}"


def _begin(text: str, bodies: Sequence[Mapping[str, Any]]) -> int:
    if not text:
        return 0
    number, _, mark = text.partition("-")
    if not (number.isascii() and number.isdecimal() and len(number) < 10):
        raise InvalidInput(f"$skip is {text[:40]!r}: use a whole number", target="$skip")
    if mark:
        for index, body in enumerate(bodies):
            if _mark(body) == mark:
                return index + 1
    return int(number)


def _mark(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(str(body.get("id")).encode()).hexdigest()[:_MARK_CHARS]


def _count(call: Call, key: str, most: int) -> int:
    text = call.query.get(key, str(most))
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise InvalidInput(f"{key} is {text[:40]!r}: use a whole number", target=key)
    if key == "$maxpagesize" and int(text) == 0:
        raise InvalidInput("$maxpagesize is 0: use 1 or more", target=key)
    return min(int(text), most)
