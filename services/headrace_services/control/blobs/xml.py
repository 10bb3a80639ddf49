"""The XML of the blob wire: errors, listings and block lists (azure_rest.md 3.2)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final
from xml.sax.saxutils import escape

from headrace_api.errors import InvalidInput
from headrace_bus.store.blob_index import BlobEntry, BlobPage

MAX_BLOCKS: Final = 50_000  # Azure's own limit
_HEAD: Final = '<?xml version="1.0" encoding="utf-8"?>'
# Block ids are Base64, so a pattern reads the whole grammar and no parser meets hostile XML.
_BLOCK: Final = re.compile(rb"<(Latest|Committed|Uncommitted)>([A-Za-z0-9+/=]{1,128})</\1>")
# What may stand around them. No two runs of blanks meet, or a long one took its square in time.
_REST: Final = re.compile(rb"(<\?xml[^<>]*\?>)?\s*<BlockList\s*(/>|>\s*</BlockList>)\s*")


def error_xml(code: str, message: str) -> str:
    return f"{_HEAD}<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"


def listing_xml(
    container: str, page: BlobPage, *, prefix: str, delimiter: str, with_metadata: bool
) -> str:
    """The EnumerationResults document of one page; the container's name is a checked one."""
    items = [_blob_xml(name, entry, with_metadata) for name, entry in page.entries]
    items += [f"<BlobPrefix><Name>{escape(name)}</Name></BlobPrefix>" for name in page.prefixes]
    return (
        f'{_HEAD}<EnumerationResults ContainerName="{container}">'
        f"<Prefix>{escape(prefix)}</Prefix><Delimiter>{escape(delimiter)}</Delimiter>"
        f"<Blobs>{''.join(items)}</Blobs><NextMarker>{escape(page.next)}</NextMarker>"
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


def http_date(timestamp: str) -> str:
    """An ISO-8601 time as HTTP headers carry it."""
    return format_datetime(datetime.fromisoformat(timestamp).astimezone(UTC), usegmt=True)


def _blob_xml(name: str, entry: BlobEntry, with_metadata: bool) -> str:
    pairs = "".join(f"<{key}>{escape(value)}</{key}>" for key, value in entry.metadata.items())
    metadata = f"<Metadata>{pairs}</Metadata>" if with_metadata else ""
    return (
        f"<Blob><Name>{escape(name)}</Name><Properties>"
        f"<Last-Modified>{http_date(entry.modified)}</Last-Modified>"
        f"<Etag>{escape(entry.etag)}</Etag>"
        f"<Content-Length>{entry.size_bytes}</Content-Length>"
        f"<Content-Type>{escape(entry.content_type)}</Content-Type>"
        f"<BlobType>BlockBlob</BlobType></Properties>{metadata}</Blob>"
    )
