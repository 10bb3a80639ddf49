"""The XML of the blob wire: errors, listings and block lists (azure_rest.md 3.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from typing import Final
from xml.sax.saxutils import escape

from headrace_api.errors import InvalidInput

MAX_BLOCKS: Final = 50_000  # Azure's own limit
_HEAD: Final = '<?xml version="1.0" encoding="utf-8"?>'
# Block ids are Base64, so a pattern reads the whole grammar and no parser meets hostile XML.
_BLOCK: Final = re.compile(rb"<(Latest|Committed|Uncommitted)>([A-Za-z0-9+/=]{1,128})</\1>")
_REST: Final = re.compile(rb"(<\?xml[^<>]*\?>)?\s*<BlockList\s*/?>\s*(</BlockList>)?\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedBlob:
    """One blob in a listing."""

    name: str
    size_bytes: int
    etag: str
    modified: datetime
    content_type: str = "application/octet-stream"
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a container."""

    prefix: str = ""
    delimiter: str = ""
    blobs: tuple[ListedBlob, ...] = ()
    prefixes: tuple[str, ...] = ()
    next_marker: str = ""


def error_xml(code: str, message: str) -> str:
    return f"{_HEAD}<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"


def listing_xml(container: str, page: Page, *, with_metadata: bool) -> str:
    """The EnumerationResults document of one page."""
    items = [_blob_xml(blob, with_metadata=with_metadata) for blob in page.blobs]
    items += [f"<BlobPrefix><Name>{_text(name)}</Name></BlobPrefix>" for name in page.prefixes]
    return (
        f'{_HEAD}<EnumerationResults ContainerName="{escape(container, {chr(34): "&quot;"})}">'
        f"<Prefix>{_text(page.prefix)}</Prefix><Delimiter>{_text(page.delimiter)}</Delimiter>"
        f"<Blobs>{''.join(items)}</Blobs><NextMarker>{_text(page.next_marker)}</NextMarker>"
        "</EnumerationResults>"
    )


def parse_block_list(data: bytes) -> tuple[str, ...]:
    """The block ids in their order. Raises InvalidInput when it is no list of blocks."""
    ids = tuple(match[2].decode() for match in _BLOCK.finditer(data))
    if not _REST.fullmatch(_BLOCK.sub(b"", data)):
        raise InvalidInput("the body is not a BlockList document", target="blocklist")
    if len(ids) > MAX_BLOCKS:
        raise InvalidInput(
            f"a list of {len(ids)} blocks is over the {MAX_BLOCKS} allowed", target="blocklist"
        )
    return ids


def page_of(
    blobs: Iterable[ListedBlob], *, prefix: str, delimiter: str, marker: str, limit: int
) -> Page:
    """Cut one page out of blobs sorted by name; `marker` is the first name of the page."""
    taken: list[ListedBlob] = []
    prefixes: list[str] = []
    for blob in blobs:
        if not blob.name.startswith(prefix):
            continue
        folder = _folder(blob.name, prefix, delimiter)
        shown = folder or blob.name
        if shown < marker or (prefixes and folder == prefixes[-1]):
            continue
        if len(taken) + len(prefixes) == limit:
            return Page(
                prefix=prefix,
                delimiter=delimiter,
                blobs=tuple(taken),
                prefixes=tuple(prefixes),
                next_marker=shown,
            )
        if folder:
            prefixes.append(folder)
        else:
            taken.append(blob)
    return Page(prefix=prefix, delimiter=delimiter, blobs=tuple(taken), prefixes=tuple(prefixes))


def http_date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


def _folder(name: str, prefix: str, delimiter: str) -> str:
    """The name up to the first delimiter after the prefix; "" when there is none."""
    if not delimiter:
        return ""
    head, found, _ = name[len(prefix) :].partition(delimiter)
    return prefix + head + found if found else ""


def _blob_xml(blob: ListedBlob, *, with_metadata: bool) -> str:
    metadata = ""
    if with_metadata:
        pairs = "".join(f"<{key}>{_text(value)}</{key}>" for key, value in blob.metadata.items())
        metadata = f"<Metadata>{pairs}</Metadata>"
    return (
        f"<Blob><Name>{_text(blob.name)}</Name><Properties>"
        f"<Last-Modified>{http_date(blob.modified)}</Last-Modified><Etag>{_text(blob.etag)}</Etag>"
        f"<Content-Length>{blob.size_bytes}</Content-Length>"
        f"<Content-Type>{_text(blob.content_type)}</Content-Type><BlobType>BlockBlob</BlobType>"
        f"</Properties>{metadata}</Blob>"
    )


def _text(value: str) -> str:
    return escape(value)
