"""The blob wire in the OpenAPI document: two paths, their signature, and Azure's errors in XML.

A blob's name may hold slashes, which a template cannot say. Before the container a segment
`_.blob.<anything>` may stand and means nothing (azure_rest.md 1.3).
"""

from __future__ import annotations

from typing import Any, Final

from headrace_bus.store.blob_index import MAX_PAGE
from headrace_services.control.api.openapi_parts import (
    TEXT,
    Schema,
    answer,
    count,
    object_of,
    one_of,
    parameter,
    path_parameters,
    reference,
)
from headrace_services.control.blobs.http import CONTAINER
from headrace_services.control.blobs.wire import MAX_BLOCK_ID_CHARS, METHODS_OF_A_BLOB
from headrace_services.control.blobs.xml import MAX_BLOCKS

XML: Final = "application/xml"
BYTES: Final[Schema] = {"type": "string", "format": "binary"}
SCHEMAS: Final[dict[str, Schema]] = {
    "BlobError": object_of(
        ("Code", "Message"),
        Code={"type": "string", "minLength": 1},
        Message={"type": "string", "minLength": 1},
    )
    | {"xml": {"name": "Error"}},
    "BlobList": object_of(
        ("Prefix", "Delimiter", "Blobs", "NextMarker"),
        Prefix=TEXT,
        Delimiter=TEXT,
        Blobs={"description": "of each: Name, Properties, and Metadata where it was asked for"},
        NextMarker=TEXT,
    )
    | {"xml": {"name": "EnumerationResults"}},
    "BlockList": object_of(
        Latest={
            "type": "array",
            "maxItems": MAX_BLOCKS,
            "items": {"type": "string", "pattern": f"^[A-Za-z0-9+/=]{{1,{MAX_BLOCK_ID_CHARS}}}$"},
        }
    )
    | {"xml": {"name": "BlockList"}},
}
SECURITY: Final = {"sas": {"type": "apiKey", "in": "query", "name": "sig"}}
_ONE_CONTAINER: Final = "/blob/{workspace}/{container}"
_ONE_BLOB: Final = f"{_ONE_CONTAINER}/{{blob}}"
# What the signature signs comes beside it.
_SIGNED: Final = [
    parameter("query", "sv", TEXT, required=True),
    parameter("query", "sp", TEXT, required=True),
    parameter("query", "se", TEXT, required=True),
]
_LISTING: Final = [
    parameter("query", "comp", one_of("list"), required=True),
    parameter("query", "restype", one_of("container")),
    parameter("query", "prefix", TEXT),
    parameter("query", "delimiter", TEXT),
    parameter("query", "marker", TEXT),
    parameter("query", "maxresults", count(1, MAX_PAGE)),
    parameter("query", "include", one_of("metadata")),
]
_RANGE: Final[Schema] = {"type": "string", "examples": ["bytes=0-33554431"]}
_BLOCK_ID: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": MAX_BLOCK_ID_CHARS}
_OWN: Final[dict[str, list[dict[str, Any]]]] = {
    "GET": [
        parameter("header", "x-ms-range", _RANGE),
        parameter("header", "If-Match", TEXT),
    ],
    "PUT": [
        parameter("query", "comp", one_of("block", "blocklist", "metadata")),
        parameter("query", "blockid", _BLOCK_ID),
        parameter("header", "x-ms-blob-type", one_of("BlockBlob")),
        parameter("header", "If-None-Match", one_of("*")),
        parameter("header", "Content-MD5", TEXT),
    ],
}
_DONE: Final = {
    "GET": answer("the bytes, or the range of them", {}, "*/*"),
    "HEAD": answer("length, validators and metadata, in headers"),
    "PUT": answer("kept"),
    "DELETE": answer("gone"),
}


def blob_paths() -> dict[str, dict[str, Any]]:
    """The container and the blob, with what each method takes."""
    listed = answer("one page", reference("BlobList"), XML)
    blob = {one.lower(): _of_a_blob(one) for one in METHODS_OF_A_BLOB}
    return {
        _ONE_CONTAINER: {
            "parameters": _named(_ONE_CONTAINER),
            "get": _operation("GET", _ONE_CONTAINER, listed) | {"parameters": _LISTING},
        },
        _ONE_BLOB: {"parameters": _named(_ONE_BLOB), **blob},
    }


def _named(template: str) -> list[dict[str, Any]]:
    names = path_parameters(template)
    for one in names:
        if one["name"] == "container":
            one["schema"] = {"type": "string", "pattern": f"^{CONTAINER}$"}
    return names + _SIGNED


def _of_a_blob(method: str) -> dict[str, Any]:
    operation = _operation(method, _ONE_BLOB, _DONE[method])
    operation["parameters"] = _OWN.get(method, [])
    if method == "PUT":
        content = {
            "application/octet-stream": {"schema": BYTES},
            XML: {"schema": reference("BlockList")},
        }
        operation["requestBody"] = {"required": False, "content": content}
    return operation


def _operation(method: str, template: str, done: dict[str, Any]) -> dict[str, Any]:
    told = reference("BlobError") if method != "HEAD" else None
    return {
        "operationId": f"{method.lower()} {template}",
        "security": [{"sas": []}],
        "responses": {"2XX": done, "4XX": answer("refused", told, XML)},
    }
