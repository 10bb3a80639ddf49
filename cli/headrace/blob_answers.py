"""Answers of the blob wire: their errors are XML, and a code in a header."""

from __future__ import annotations

from typing import Final
from xml.etree import ElementTree

from headrace.errors import ApiError
from headrace.http_client import Answer, api_error

_CODE: Final = "x-ms-error-code"


def good(answer: Answer) -> Answer:
    """The answer itself. Raises ApiError for one that is an error."""
    if answer.status < 400:
        return answer
    code = answer.headers.get(_CODE)
    if not code:
        raise api_error(answer)
    # An answer to HEAD has no body.
    raise ApiError(answer.status, code, _message(answer.body) or f"HTTP {answer.status}")


def _message(body: bytes) -> str:
    try:
        return ElementTree.fromstring(body).findtext("Message", "")
    except ElementTree.ParseError:
        return ""
