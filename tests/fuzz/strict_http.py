"""HTTP/1.1 by the letter of RFC 9112: what a stream of bytes says, and what one of answers does.

Much stricter than a server has to be. Whatever an edge of ours takes for one request must be one
here too, with the same bytes in it: where two parsers differ, one request can hide in another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# Several spaces are no danger (RFC 9112 3 lets servers split a request line at any whitespace).
_LINE: Final = re.compile(rb"(%b) +([\x21-\x7e\x80-\xff]+) +HTTP/(\d)\.(\d)" % _TOKEN)
_FIELD: Final = re.compile(rb"(%b):[ \t]*([\t\x20-\x7e\x80-\xff]*)" % _TOKEN)
_CHUNK: Final = re.compile(rb"(0*[0-9A-Fa-f]{1,16})((?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?)")
_STATUS: Final = re.compile(rb"HTTP/(\d\.\d) (\d{3}) [^\r\n]*")


class Malformed(ValueError):
    """Not a request by the standard."""


class Partial(ValueError):
    """A request that has begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request."""

    method: bytes
    target: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    """Names in lower case."""
    body: bytes
    keep_alive: bool
    raw: bytes

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key == name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """What a client said so far."""

    requests: tuple[Asked, ...]
    end: str
    """`whole`, `partial`, or why what follows is malformed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One answer."""

    status: int
    fields: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    old: bool = False
    """Not HTTP/1.1, so that nothing follows."""

    @property
    def closes(self) -> bool:
        connection = self.fields.get(b"connection", b"").lower()
        return connection == b"close" or (self.old and connection != b"keep-alive")


def read_requests(data: bytes) -> Stream:
    found: list[Asked] = []
    at, end = 0, "whole"
    while at < len(data):
        if data[at] in b"\r\n":  # empty lines between messages
            at += 1
            continue
        try:
            one, at = _request(data, at)
        except Partial:
            end = "partial"
            break
        except Malformed as error:
            end = str(error)
            break
        found.append(one)
    return Stream(requests=tuple(found), end=end)


def read_answers(data: bytes, methods: list[bytes]) -> list[Told]:
    """Whole answers to requests of these methods; 100 is left out. Raises Malformed."""
    found: list[Told] = []
    at = 0
    while at < len(data):
        try:
            line, below = _until_line(data, at)
            status = _STATUS.fullmatch(line)
            if status is None:
                raise Malformed(f"no status line: {line[:80]!r}")
            fields, below = _fields(data, below)
            one = int(status[2])
            if one == 100:
                at = below
                continue
            headless = len(found) < len(methods) and methods[len(found)] == b"HEAD"
            unread = one == 400 and status[1] == b"1.0"  # what it could not read has no method
            headless &= not (unread and below < len(data))
            body = b""
            if not headless and one not in (204, 304):
                body, below = _body(data, below, dict(fields), fields)
        except Partial:
            break
        found.append(Told(status=one, fields=dict(fields), body=body, old=status[1] != b"1.1"))
        at = below
    return found


def _request(data: bytes, start: int) -> tuple[Asked, int]:
    line, at = _until_line(data, start)
    match = _LINE.fullmatch(line)
    if match is None or match[3] != b"1":
        raise Malformed(f"request line {line[:80]!r}")
    fields, at = _fields(data, at)
    by_name = dict(fields)
    connection = b",".join(value for name, value in fields if name == b"connection").lower()
    words = {word.strip() for word in connection.split(b",")}
    new = match[4] != b"0"
    if b"transfer-encoding" in by_name and not new:
        raise Malformed("chunks in HTTP/1.0")
    body, at = _body(data, at, by_name, fields)
    keep = b"close" not in words if new else b"keep-alive" in words
    one = Asked(
        method=match[1],
        target=match[2],
        fields=tuple(fields),
        body=body,
        keep_alive=keep,
        raw=data[start:at],
    )
    return one, at


def _until_line(data: bytes, at: int) -> tuple[bytes, int]:
    """The line at a place, which ends in CR LF and in nothing else."""
    end = data.find(b"\n", at)
    line = data[at : end if end >= 0 else len(data)]
    if line.removesuffix(b"\r").find(b"\r") >= 0 or b"\0" in line:
        raise Malformed(f"a bare CR or a NUL in {line[:80]!r}")
    if end < 0:
        raise Partial
    if not line.endswith(b"\r"):
        raise Malformed(f"a bare LF after {line[:80]!r}")
    return line[:-1], end + 1


def _fields(data: bytes, at: int) -> tuple[list[tuple[bytes, bytes]], int]:
    fields: list[tuple[bytes, bytes]] = []
    while True:
        line, at = _until_line(data, at)
        if not line:
            return fields, at
        match = _FIELD.fullmatch(line)
        if match is None:
            raise Malformed(f"field {line[:80]!r}")
        fields.append((match[1].lower(), match[2].rstrip(b" \t")))


def _body(
    data: bytes, at: int, by_name: dict[bytes, bytes], fields: list[tuple[bytes, bytes]]
) -> tuple[bytes, int]:
    lengths = [value for name, value in fields if name == b"content-length"]
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    if lengths and codings:
        raise Malformed("a length beside chunks")
    if codings:
        if [one.lower() for one in codings] != [b"chunked"]:
            raise Malformed(f"transfer coding {codings!r}")
        return _chunks(data, at)
    if not lengths:
        return b"", at
    if len(lengths) > 1 or not re.fullmatch(rb"\d{1,15}", lengths[0]):
        raise Malformed(f"content length {lengths!r}")
    end = at + int(lengths[0])
    if end > len(data):
        raise Partial
    return data[at:end], end


def _chunks(data: bytes, at: int) -> tuple[bytes, int]:
    parts: list[bytes] = []
    while True:
        line, at = _until_line(data, at)
        match = _CHUNK.fullmatch(line)
        if match is None:
            raise Malformed(f"chunk {line[:80]!r}")
        size = int(match[1], 16)
        if size == 0:
            _, at = _fields(data, at)
            return b"".join(parts), at
        if at + size + 2 > len(data):
            if data[at + size : at + size + 2] not in (b"", b"\r"):
                raise Malformed("a chunk is longer than it says")
            raise Partial
        if data[at + size : at + size + 2] != b"\r\n":
            raise Malformed("a chunk is longer than it says")
        parts.append(data[at : at + size])
        at += size + 2
