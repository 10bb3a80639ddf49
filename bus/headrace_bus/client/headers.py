"""NATS message headers: `NATS/1.0[ status]`, then `Name: value` lines, each ended by CR LF."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from headrace_api.errors import InvalidInput

NO_RESPONDERS: Final = b"NATS/1.0 503"
ASKED: Final = "Nats-Subject"  # what NO_RESPONDERS is about; older servers may not say
STATUS: Final = "Status"  # where nats-py puts the inline status, and so do we
DESCRIPTION: Final = "Description"

_VERSION: Final = b"NATS/1.0"
_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NO_NEWLINES: Final = str.maketrans("\r\n", "  ")


def is_name(text: str) -> bool:
    """Whether a header can have this name."""
    return _NAME.fullmatch(text) is not None


def encode_headers(headers: Mapping[str, str]) -> bytes:
    """Raises InvalidInput for a name that is no token; line ends in values become spaces."""
    lines = [_VERSION.decode()]
    for name, value in headers.items():
        if not is_name(name):
            raise InvalidInput(f"header name {name!r} is not a token", target=name)
        lines.append(f"{name}: {value.strip().translate(_NO_NEWLINES)}")
    return "\r\n".join([*lines, "", ""]).encode()


def parse_headers(raw: bytes) -> dict[str, str]:
    """Every header of a block; lines that are none are skipped, bad UTF-8 is replaced."""
    first, _, rest = raw.partition(b"\r\n")
    headers = _status(first)
    for line in rest.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon:
            headers[name.decode("utf-8", "replace").strip()] = value.decode(
                "utf-8", "replace"
            ).strip()
    return headers


def _status(line: bytes) -> dict[str, str]:
    status, _, description = line[len(_VERSION) :].decode("utf-8", "replace").strip().partition(" ")
    if not status.isdigit():
        return {}
    return {STATUS: status, DESCRIPTION: description} if description else {STATUS: status}
