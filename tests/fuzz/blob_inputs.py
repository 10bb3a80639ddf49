"""Requests of the blob wire: good ones, whose answer is known, and damaged ones."""

from __future__ import annotations

import base64
import random
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from fuzz.mutate import damaged

CONTAINER: Final = "azureml-blobstore"
ACCOUNT: Final = f"/blob/default/_.blob.core.windows.net/{CONTAINER}"
NAMES: Final = ("a", "a/b", "a/b.bin", "ü ö", "%25", "x//y", "n" * 60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request and, where that is certain, what it must be answered."""

    raw: bytes
    status: int | None = None
    body: bytes | None = None
    shared: bool = False
    """Whether its name may be another client's too."""


@dataclass
class Desk:
    """One client with names of its own, and what it knows to lie under them."""

    who: int
    sas: str
    kept: dict[str, bytes | None] = field(default_factory=dict)
    """None where a damaged write was taken, so that anything of its own may lie there."""
    blocks: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def ask(self, number: int, rng: random.Random) -> Ask:
        name = f"{self.who}/{rng.choice(NAMES)}"
        mark = b"mark-%d-%d-" % (self.who, number)
        make = rng.choice(
            (
                *(self._put, self._block, self._block, self._commit, self._get, self._get),
                *(self._get, self._head, self._delete, self._list, self._metadata),
            )
        )
        one = make(name, mark, rng)
        return self._damaged(one, name, rng) if rng.random() < 0.5 else one

    def _raw(
        self, method: str, name: str, query: str = "", *fields: str, body: bytes = b""
    ) -> bytes:
        target = f"{ACCOUNT}/{quote(name)}?{query}{'&' if query else ''}{self.sas}"
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *fields]
        if body or method == "PUT":
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode() + body

    def _put(self, name: str, mark: bytes, rng: random.Random) -> Ask:
        body = mark + rng.randbytes(rng.choice((0, 3, 400)))
        self.kept[name] = body
        self.blocks.pop(name, None)  # a whole upload does not touch blocks; never asked for again
        return Ask(raw=self._raw("PUT", name, body=body), status=201)

    def _block(self, name: str, mark: bytes, rng: random.Random) -> Ask:
        body, block = mark, base64.b64encode(b"%05d" % rng.randrange(4)).decode()
        self.blocks.setdefault(name, {})[block] = body
        raw = self._raw("PUT", name, f"comp=block&blockid={quote(block, safe='')}", body=body)
        return Ask(raw=raw, status=201)

    def _commit(self, name: str, mark: bytes, rng: random.Random) -> Ask:
        known = self.blocks.pop(name, {})
        order = rng.sample(sorted(known), len(known))
        tags = "".join(f"<Latest>{one}</Latest>" for one in order)
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{tags}</BlockList>'.encode()
        self.kept[name] = b"".join(known[one] for one in order)
        return Ask(raw=self._raw("PUT", name, "comp=blocklist", body=body), status=201)

    def _get(self, name: str, mark: bytes, rng: random.Random) -> Ask:
        whole = self.kept.get(name)
        first, last = sorted((rng.randrange(30), rng.randrange(30)))
        if rng.random() < 0.5:
            return Ask(raw=self._raw("GET", name), status=self._status(name), body=whole)
        raw = self._raw("GET", name, "", f"x-ms-range: bytes={first}-{last}")
        if name not in self.kept:
            return Ask(raw=raw, status=404)
        if whole is None:
            return Ask(raw=raw)
        if first >= len(whole):
            return Ask(raw=raw, status=416)
        return Ask(raw=raw, status=206, body=whole[first : last + 1])

    def _head(self, name: str, mark: bytes, rng: random.Random) -> Ask:
        return Ask(raw=self._raw("HEAD", name), status=self._status(name))

    def _delete(self, name: str, mark: bytes, rng: random.Random) -> Ask:
        self.kept.pop(name, None)
        return Ask(raw=self._raw("DELETE", name), status=202)

    def _list(self, name: str, mark: bytes, rng: random.Random) -> Ask:
        query = f"restype=container&comp=list&prefix={self.who}/&include=metadata"
        raw = self._raw("GET", "", query).replace(f"{ACCOUNT}/?".encode(), f"{ACCOUNT}?".encode())
        return Ask(raw=raw, status=200)

    def _metadata(self, name: str, mark: bytes, rng: random.Random) -> Ask:
        raw = self._raw("PUT", name, "comp=metadata", "x-ms-meta-one: two")
        return Ask(raw=raw, status=self._status(name))

    def _status(self, name: str) -> int | None:
        """What a look at it is answered; None where that is not known."""
        if name not in self.kept:
            return 404
        return None if self.kept[name] is None else 200

    def _damaged(self, one: Ask, name: str, rng: random.Random) -> Ask:
        """Whatever it does, it does to names of its own; what lies there is then unknown."""
        self.kept[name] = None
        self.blocks.pop(name, None)
        head, _, body = one.raw.partition(b"\r\n\r\n")
        match rng.randrange(6):
            case 0:
                raw = one.raw.replace(self.sas.encode(), _other_terms(self.sas, rng).encode())
                return Ask(raw=raw, status=403)
            case 1:
                head += b"\r\n" + rng.choice(_FIELDS)
            case 2:
                at = rng.randrange(len(_QUERIES))
                head = head.replace(b"?", b"?" + _QUERIES[at] + b"&", 1)
            case 3:
                body = damaged(body, rng, [body]) if body else b""
                lines = [one for one in head.split(b"\r\n") if not one.startswith(b"Content-Len")]
                head = b"\r\n".join([*lines, b"Content-Length: %d" % len(body)])
            case 4:
                body = rng.choice(_LISTS)
                head = self._raw("PUT", name, "comp=blocklist", body=body).partition(b"\r\n\r\n")[0]
            case _:
                head = head.replace(quote(name).encode(), rng.choice(_PLACES), 1)
                return Ask(raw=head + b"\r\n\r\n" + body, shared=True)
        return Ask(raw=head + b"\r\n\r\n" + body)


def _other_terms(sas: str, rng: random.Random) -> str:
    """A signature with one of its terms changed, none of which may open anything."""
    changes = (
        ("sig=", "sig=A"),
        ("sp=racwdl", "sp=racwdlx"),
        ("sp=racwdl", "sp=w"),
        ("se=2", "se=3"),
        ("sv=2024", "sv=2025"),
        ("sig=", "sig=%00"),
        ("sig=", "sig=%ff%fe"),
        ("sig=", "sig=&old="),
        ("se=", "se=x"),
        ("sv=", "sv=%ed%a0%80"),
    )
    old, new = rng.choice(changes)
    return sas.replace(old, new, 1)


_FIELDS: Final = (
    *(b"x-ms-range: bytes=5-1", b"Range: bytes=-5", b"x-ms-range: bytes=0-", b"Range: items=0-1"),
    *(b"x-ms-range: bytes=999999999999999999-", b"x-ms-range: bytes=0-999999999999999999"),
    *(b"x-ms-range: bytes=0-0,2-3", b"x-ms-range: bytes= 0-1", "x-ms-range: bytes=٠-١".encode()),
    *(b"x-ms-range: \xff", b"If-Match: x", b'If-Match: "0x1"', b"If-Match: *", b"If-None-Match: *"),
    *(
        b"Content-MD5: x",
        b"Content-MD5: AAAAAAAAAAAAAAAAAAAAAA==",
        b"Content-MD5: \xff",
        b"Content-MD5:",
    ),
    *(
        b"x-ms-meta-\xff: 1",
        b"x-ms-meta-a: \xff",
        b"x-ms-meta-a: " + b"m" * 9_000,
        b"x-ms-meta-: 1",
    ),
    *(b"x-ms-meta-a-b: 1", "x-ms-meta-a: ü".encode(), b"x-ms-meta-__class__: 1", b"x-ms-meta-1: 1"),
    *(b"x-ms-blob-content-type: \xff\xfe", b"x-ms-blob-content-type: a\tb", b"Content-Type: \x80"),
    *(b"x-ms-blob-content-type: " + b"t" * 9_000, "x-ms-blob-content-type: ü".encode()),
    *(
        b"x-ms-blob-type: PageBlob",
        b"x-ms-copy-source: http://169.254.169.254/",
        b"Expect: 100-continue",
    ),
    *(
        b"Content-Encoding: gzip",
        b"Content-Encoding: deflate",
        b"Content-Encoding: br",
        b"Content-Encoding: zstd",
    ),
    *(b"X-HTTP-Method-Override: DELETE", b"Connection: close", b"x-ms-version: \xff"),
)
_QUERIES: Final = (
    *(
        b"comp=",
        b"comp=block",
        b"comp=blocklist",
        b"comp=list",
        b"comp=%ff",
        b"comp=metadata&comp=block",
    ),
    *(
        b"comp=block&blockid=",
        b"comp=block&blockid=%00",
        b"comp=block&blockid=../../../x",
        b"comp=copy",
    ),
    *(
        b"comp=block&blockid=" + b"b" * 200,
        b"comp=block&blockid=%ed%a0%80",
        b"blockid=a",
        b"snapshot=x",
    ),
    *(b"maxresults=0", b"maxresults=-1", b"maxresults=%d9%a0", b"maxresults=1", b"maxresults=1e9"),
    *(
        b"marker=%ff",
        b"marker=zzz",
        b"marker=%00",
        b"delimiter=/",
        b"delimiter=%00",
        b"delimiter=%ff",
    ),
    *(
        b"prefix=%ff",
        b"prefix=" + b"p/" * 600,
        b"prefix=..%2f",
        b"prefix=%ed%a0%80",
        b"include=%ff",
    ),
    *(b"restype=service", b"versionid=1", b"timeout=x", b"x" * 20_000, b"&&&&", b"%", b"=;=;"),
)
_LISTS: Final = (
    *(
        b"",
        b"<",
        b"<BlockList/>",
        b"<BlockList></BlockList>",
        b"<BlockList><Latest></Latest></BlockList>",
    ),
    *(
        b"<BlockList><Latest>AAAA</Latest></BlockList>",
        b"<BlockList>" * 5_000,
        b"\xff\xfe<\x00B\x00",
    ),
    b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><BlockList><Latest>&a;</Latest></BlockList>',
    b"<BlockList>" + b"<Latest>MDAwMDE=</Latest>" * 2_000 + b"</BlockList>",
    b"<BlockList>" + b"<Latest>MDAwMDE=</Latest>" * 60_000 + b"</BlockList>",
    b"<BlockList>" + b" " * 100_000,
    b"<?xml " + b"?" * 100_000,
    b"<BlockList><Committed>MDAwMDE=</Uncommitted></BlockList>",
)
_PLACES: Final = (
    *(
        b"..",
        b"../x",
        b"%2e%2e/x",
        b"%2fetc%2fpasswd",
        b"a%5cb",
        b"a%00b",
        b"%ff",
        b"%ed%a0%80",
        b"%",
    ),
    *(b"x" * 2_000, b"x/" * 500, b"", b"//", b"a?b", b"a%3Fb", b".", b"a/./b", b"%e2%80%ae"),
)
