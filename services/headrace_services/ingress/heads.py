"""What a head must be, by RFC 9110 and 9112, beyond what the parser holds it to."""

from __future__ import annotations

import re
from typing import Final

from headrace_services.ingress.exchange import Exchange, Reply
from headrace_services.ingress.replies import bad_request, unmet_expectation

VERSIONS: Final = frozenset({"1.0", "1.1"})
SINGLE: Final = ("host", "authorization", "azureml-model-deployment", "x-request-timeout-ms")
_HOST: Final = re.compile(r"([-\w.~!$&'()*+,;=%]*|\[[0-9A-Fa-f:.]+\])(:\d*)?", re.ASCII)
_ESCAPED: Final = re.compile(rb"%(2[DEde]|3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa]|5[Ff]|7[Ee])")
_CONTINUE: Final = "100-continue"


def broken(exchange: Exchange) -> Reply | None:
    """The refusal of a head that is no request here; it ends the connection."""
    if exchange.method == "CONNECT" or exchange.version not in VERSIONS:
        return bad_request("Only HTTP/1.1 and 1.0 are supported, without CONNECT.")
    if "transfer-encoding" in exchange.fields and not _is_chunked(exchange):
        return bad_request("The only supported transfer coding is chunked, in HTTP/1.1.")
    if not exchange.target.isascii():
        return bad_request("The request target has bytes that must be percent-encoded.")
    return _broken_host(exchange) or _repeated(exchange) or _unmet(exchange)


def awaits_continue(exchange: Exchange) -> bool:
    """Whether the client waits for a word before it sends the body; never in HTTP/1.0."""
    return "expect" in exchange.fields and exchange.version == "1.1" and bool(_expected(exchange))


def normal_path(path: bytes) -> bytes:
    """With letters, digits and -._~ as they are: `%73core` is `score` (RFC 3986 6.2.2.2)."""
    return _ESCAPED.sub(lambda match: bytes.fromhex(match[1].decode()), path)


def encoding(exchange: Exchange) -> str:
    """The Content-Encoding of the body, which nobody here undoes; empty without."""
    if "content-encoding" not in exchange.fields:
        return ""
    if exchange.fields.get("content-length", "0") == "0" and not _is_chunked(exchange):
        return ""
    codings = ",".join(value for name, value in exchange.headers if name == "content-encoding")
    return next((one for one in _words(codings) if one != "identity"), "")


def _is_chunked(exchange: Exchange) -> bool:
    """By the standard; llhttp takes chunks of HTTP/1.0, and codings that nobody here undoes."""
    codings = [value for name, value in exchange.headers if name == "transfer-encoding"]
    return exchange.version == "1.1" and [one.lower() for one in codings] == ["chunked"]


def _broken_host(exchange: Exchange) -> Reply | None:
    host = exchange.fields.get("host")
    if host is None:
        wanted = exchange.version == "1.1"
        return bad_request("A request of HTTP/1.1 needs a Host header.") if wanted else None
    return None if _HOST.fullmatch(host) else bad_request("The Host header names no host.")


def _repeated(exchange: Exchange) -> Reply | None:
    """Two of what may come once: who reads the first and who reads the last would differ."""
    if len(exchange.fields) == len(exchange.headers):
        return None
    names = [name for name, _ in exchange.headers]
    found = next((one for one in SINGLE if names.count(one) > 1), None)
    return bad_request(f"The request has more than one {found} header.") if found else None


def _unmet(exchange: Exchange) -> Reply | None:
    """RFC 9110 10.1.1."""
    if "expect" not in exchange.fields or set(_expected(exchange)) <= {_CONTINUE}:
        return None
    return unmet_expectation()


def _expected(exchange: Exchange) -> list[str]:
    return _words(",".join(value for name, value in exchange.headers if name == "expect"))


def _words(text: str) -> list[str]:
    return [word for one in text.lower().split(",") if (word := one.strip())]
