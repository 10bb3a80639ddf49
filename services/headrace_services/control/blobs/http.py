"""The blob wire's share of HTTP: names in paths, ranges, metadata headers, errors as XML."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from aiohttp import web

from headrace_api.errors import HeadraceError, InvalidInput
from headrace_services.control.blobs.xml import error_xml

MAX_NAME_CHARS: Final = 1024
MAX_METADATA_BYTES: Final = 8 * 1024  # Azure's own limit
MAX_TOLD_CHARS: Final = 256  # of what was asked for, in an error
ERROR_CODE: Final = "x-ms-error-code"
METADATA_PREFIX: Final = "x-ms-meta-"
DIGESTS: Final = "$digests"
"""Stands where a container's name does: below it lie all bytes, named by their SHA-256. No client
can make a container of this name, as '$' is in none."""
CONTAINER: Final = "[a-z0-9](-?[a-z0-9]){2,62}"
_METADATA_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RANGE: Final = re.compile(r"bytes=(\d{1,18})-(\d{1,18})?")
_SACRIFICE: Final = "_.blob."


class BlobRefused(HeadraceError, ValueError):
    """A refusal that has a code of its own on the blob wire."""

    def __init__(
        self, code: str, message: str, status: int = 400, *, allowed: Sequence[str] = ()
    ) -> None:
        super().__init__(message)
        self.wire_code = code
        self.wire_status = status
        self.allowed = allowed


class BlobMissing(HeadraceError, LookupError):
    """There is no blob of this name."""

    code: ClassVar[str] = "BlobNotFound"
    status: ClassVar[int] = 404


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobPath:
    """What a request path names; an empty blob is the container itself."""

    container: str
    blob: str


def blob_path(segments: Sequence[str], workspace: str) -> BlobPath:
    """Read `/blob/{ws}/[_.blob.<any>/]{container}[/{blob}]`, decoded segment by segment.

    Raises BlobRefused.
    """
    below = list(segments[2:])
    if len(segments) < 3 or segments[1].lower() != workspace.lower():
        asked = "/".join(segments)[:MAX_TOLD_CHARS]
        raise BlobRefused("ResourceNotFound", f"there is no blob store at {asked!r}", 404)
    if below[0].startswith(_SACRIFICE):
        del below[0]
    if below[:1] == [DIGESTS]:
        return BlobPath(container=DIGESTS, blob="/".join(below[1:])[:MAX_NAME_CHARS])
    if not below or len(below[0]) > 63 or not re.fullmatch(CONTAINER, below[0]):
        raise BlobRefused(
            "InvalidResourceName",
            "a container's name is 3 to 63 lower-case letters, digits and single '-'",
        )
    name = "/".join(below[1:])
    if len(name) > MAX_NAME_CHARS:
        raise BlobRefused(
            "InvalidResourceName", f"a blob's name has at most {MAX_NAME_CHARS} characters"
        )
    return BlobPath(container=below[0], blob=name)


def metadata_of(headers: Mapping[str, str]) -> dict[str, str]:
    """The `x-ms-meta-*` headers. Raises BlobRefused on names or sizes that no reader takes."""
    found = {
        name[len(METADATA_PREFIX) :]: value
        for name, value in headers.items()
        if name.lower().startswith(METADATA_PREFIX)
    }
    for name in found:
        if not _METADATA_NAME.fullmatch(name):
            raise BlobRefused("InvalidMetadata", f"metadata name {name!r} is not an identifier")
        check_text(f"{METADATA_PREFIX}{name}", found[name])
    if sum(len(name) + len(value) for name, value in found.items()) > MAX_METADATA_BYTES:
        raise BlobRefused("MetadataTooLarge", f"metadata is over {MAX_METADATA_BYTES} bytes")
    return found


def check_text(name: str, value: str) -> None:
    """Raises BlobRefused for bytes that are no UTF-8: no answer could carry them again."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BlobRefused("InvalidHeaderValue", f"the value of {name} is not text") from None


def range_of(headers: Mapping[str, str], size_bytes: int) -> tuple[int, int] | None:
    """First and last byte asked for, or None for all. Raises BlobRefused (416)."""
    text = headers.get("x-ms-range") or headers.get("Range")
    match = _RANGE.fullmatch(text) if text else None
    if match is None:
        return None
    first = int(match[1])
    last = min(int(match[2]) if match[2] else size_bytes, size_bytes - 1)
    if first > last:
        raise BlobRefused(
            "InvalidRange", f"{text!r} lies outside of {size_bytes} bytes", status=416
        )
    return first, last


def md5_of(headers: Mapping[str, str]) -> bytes | None:
    """The body's MD5 as the client announced it. Raises BlobRefused when it is not one."""
    text = headers.get("Content-MD5")
    if text is None:
        return None
    try:
        digest = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 16:
        raise BlobRefused("InvalidMd5", "Content-MD5 is not 16 bytes in Base64")
    return digest


def whole_number(text: str, *, name: str, most: int) -> int:
    """Raises InvalidInput."""
    if text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= most:
        return int(text)
    raise InvalidInput(f"{name} is {text[:20]!r}: use 1 to {most}", target=name)


def refusal(error: HeadraceError, *, with_body: bool) -> web.Response:
    """The XML answer, and the code as a header too: a HEAD has nothing else."""
    code, status, allowed = error.code, error.status, {}
    if isinstance(error, BlobRefused):
        code, status = error.wire_code, error.wire_status
        allowed = {"Allow": ", ".join(error.allowed)} if error.allowed else {}
    return web.Response(
        status=status,
        headers={ERROR_CODE: code, "x-ms-version": "2024-11-04", **allowed},
        text=error_xml(code, error.message) if with_body else None,
        content_type="application/xml",
    )
