"""Answers as bytes: status lines, the fields every answer has, and the ARM error envelope."""

from __future__ import annotations

import json
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from headrace_bus.routing.exchange import refusals as outcome
from headrace_bus.routing.exchange.refusals import Refusal, body_too_large
from headrace_services.ingress.exchange import Reply

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
JSON: Final = "content-type: application/json\r\n"
MODEL_STATUS: Final = "ms-azureml-model-error-statuscode"
MODEL_REASON: Final = "ms-azureml-model-error-reason"

_REASONS: Final = {424: "Failed Dependency", 429: "Too Many Requests"}
_lines: dict[int, str] = {}
_date = [""]  # one cell, so that every module sees the newest


def set_date(now_s: float) -> None:
    """Make the `date` field for this second; every later answer carries it."""
    _date[0] = f"date: {formatdate(now_s, usegmt=True)}\r\nserver: headrace\r\n"


def head(reply: Reply, *, keep_alive: bool) -> bytes:
    """Status line and fields of a whole answer."""
    close = "" if keep_alive else "connection: close\r\n"
    return (
        f"{_status_line(reply.status)}{_date[0]}{reply.fields}{close}"
        f"content-length: {len(reply.body)}\r\n\r\n"
    ).encode("latin-1", "replace")


def stream_head(reply: Reply, *, keep_alive: bool, chunked: bool) -> bytes:
    """Status line and fields of an answer in chunks."""
    close = "" if keep_alive else "connection: close\r\n"
    framing = "transfer-encoding: chunked\r\n" if chunked else ""
    return (f"{_status_line(reply.status)}{_date[0]}{reply.fields}{close}{framing}\r\n").encode(
        "latin-1", "replace"
    )


def error(status: int, code: str, message: str, *, fields: str = "", close: bool = False) -> Reply:
    """The ARM envelope of azure_behaviour.md 3.5."""
    body = json.dumps({"error": {"code": code, "message": message}}).encode()
    return Reply(status, JSON + fields, body, close)


def refusal(refused: Refusal, *, fields: str = "") -> Reply:
    """What a gateway's refusal looks like to an HTTP client."""
    if refused.status == HTTPStatus.FAILED_DEPENDENCY:
        fields += f"{MODEL_STATUS}: {HTTPStatus.SERVICE_UNAVAILABLE.value}\r\n"
        fields += f"{MODEL_REASON}: {refused.reason}\r\n"
    if refused.retry_after_s is not None:
        fields += f"retry-after: {refused.retry_after_s}\r\n"
    return error(refused.status, refused.code, refused.message, fields=fields)


def bad_request(message: str) -> Reply:
    return error(400, "BadRequest", message, close=True)


def unauthorized(message: str) -> Reply:
    return error(401, "Unauthorized", message, fields="www-authenticate: Bearer\r\n")


def not_found(message: str, code: str = "NotFound") -> Reply:
    return error(404, code, message)


def unmet_expectation() -> Reply:
    words = "Of what a request may expect, only 100-continue is supported."
    return error(417, "ExpectationFailed", words, close=True)


def encoded(coding: str) -> Reply:
    return refusal(outcome.encoded(coding), fields="accept-encoding: identity\r\n")


def slow_client() -> Reply:
    return error(408, "RequestTimeout", "The request did not arrive in time.", close=True)


def too_large(limit_bytes: int, size_bytes: int | None = None) -> Reply:
    return error(413, "RequestEntityTooLarge", body_too_large(limit_bytes, size_bytes))


def no_room() -> Reply:
    return refusal(outcome.no_room("a request body"))


def headers_too_large() -> Reply:
    message = "The request head is larger than 32 KiB, or has more than 128 header fields."
    return error(431, "RequestHeaderFieldsTooLarge", message, close=True)


def text(status: int, body: bytes, content_type: str) -> Reply:
    return Reply(status, f"content-type: {content_type}\r\n", body)


def _status_line(status: int) -> str:
    line = _lines.get(status)
    if line is None:
        try:
            phrase = _REASONS.get(status) or HTTPStatus(status).phrase
        except ValueError:
            phrase = "Unknown"
        line = _lines[status] = f"HTTP/1.1 {status} {phrase}\r\n"
    return line
