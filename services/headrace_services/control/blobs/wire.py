"""The part of Azure's blob protocol that clients use (azure_rest.md 3.2), opened by a signature."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import structlog
from aiohttp import ClientPayloadError, web

from headrace_api.errors import HeadraceError, NoRoom
from headrace_bus.store.blob_index import MAX_PAGE, BlobEntry
from headrace_services.control.arm.request import path_segments
from headrace_services.control.blobs.containers import ContainerStore
from headrace_services.control.blobs.http import (
    DIGESTS,
    ERROR_CODE,
    METADATA_PREFIX,
    BlobMissing,
    BlobPath,
    BlobRefused,
    blob_path,
    check_text,
    md5_of,
    metadata_of,
    range_of,
    refusal,
    whole_number,
)
from headrace_services.control.blobs.sas import SasSigner
from headrace_services.control.blobs.xml import http_date, listing_xml, parse_block_list

log = structlog.get_logger(__name__)

CHUNK_BYTES: Final = 1024 * 1024
CHUNK_TIMEOUT_S: Final = 30.0  # a client that sends nothing for so long is gone
MAX_BLOCK_LIST_BYTES: Final = 8 * 1024 * 1024  # 50,000 ids of 64 characters and their tags
MAX_BLOCK_ID_CHARS: Final = 128
METHODS_OF_A_BLOB: Final = ("GET", "HEAD", "PUT", "DELETE")
_METHODS_OF_A_CONTAINER: Final = ("GET",)
_METHODS_OF_A_DIGEST: Final = ("GET", "HEAD")
_NEEDS: Final = {"GET": "r", "HEAD": "r", "PUT": "wc", "DELETE": "d"}


class BlobWire:
    """The handler of everything below `/blob/`."""

    def __init__(
        self,
        repository: ContainerStore,
        signer: SasSigner,
        *,
        workspace: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._repository = repository
        self._signer = signer
        self._workspace = workspace
        self._now = now

    async def handle(self, request: web.Request) -> web.StreamResponse:
        try:
            path = blob_path(path_segments(request.raw_path), self._workspace)
            _require_method(request, path)
            self._authorize(request, path)
            return await self._dispatch(request, path)
        except HeadraceError as error:
            return _refused(request, error)
        except OSError as error:
            if not NoRoom.is_cause(error):
                raise
            return _refused(request, NoRoom("this upload"))

    def _authorize(self, request: web.Request, path: BlobPath) -> None:
        listing = request.method == "GET" and not path.blob
        needs = "l" if listing else _NEEDS[request.method]
        self._signer.check(request.query, container=path.container, needs=needs, now=self._now())

    async def _dispatch(self, request: web.Request, path: BlobPath) -> web.StreamResponse:
        action = (request.method, request.query.get("comp", ""))
        if not path.blob:
            if action == ("GET", "list"):
                return await self._list(request, path)
            raise BlobRefused("UnsupportedQueryParameter", "a container can only be listed")
        match action:
            case ("HEAD", ""):
                entry = await self._known(path)
                length = {"Content-Length": str(entry.size_bytes)}
                return web.Response(headers=_headers(entry) | length)
            case ("GET", ""):
                return await self._get(request, path)
            case ("PUT", ""):
                return await self._put(request, path)
            case ("PUT", "block"):
                return await self._put_block(request, path)
            case ("PUT", "blocklist"):
                return await self._put_block_list(request, path)
            case ("PUT", "metadata"):
                blob = await self._repository.set_metadata(path, metadata_of(request.headers))
                return web.Response(headers=_validators(blob))
            case ("DELETE", ""):
                await self._repository.delete(path)
                return web.Response(status=202)
        raise BlobRefused("UnsupportedQueryParameter", f"{action} is not supported")

    async def _known(self, path: BlobPath) -> BlobEntry:
        if path.container == DIGESTS:
            entry = await self._repository.by_digest(path.blob)
        else:
            entry = await self._repository.find(path)
        if entry is None:
            raise BlobMissing(f"there is no blob {path.blob!r} in {path.container!r}")
        return entry

    async def _list(self, request: web.Request, path: BlobPath) -> web.StreamResponse:
        query = request.query
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        most = query.get("maxresults", str(MAX_PAGE))
        page = await self._repository.list(
            path,
            prefix,
            delimiter=delimiter,
            marker=query.get("marker", ""),
            limit=whole_number(most, name="maxresults", most=MAX_PAGE),
        )
        text = listing_xml(
            path.container,
            page,
            prefix=prefix,
            delimiter=delimiter,
            with_metadata="metadata" in query.get("include", "").split(","),
        )
        return web.Response(text=text, content_type="application/xml")

    async def _get(self, request: web.Request, path: BlobPath) -> web.StreamResponse:
        entry = await self._known(path)
        wanted = request.headers.get("If-Match", "*").strip()
        if wanted not in ("*", entry.etag):
            raise BlobRefused("ConditionNotMet", "the blob has changed since it was read", 412)
        if not await self._repository.is_kept(entry):
            raise BlobMissing(f"the content of {path.blob!r} is missing")
        span = range_of(request.headers, entry.size_bytes)
        first, last = span or (0, entry.size_bytes - 1)
        response = web.StreamResponse(status=206 if span else 200, headers=_headers(entry))
        response.content_length = last - first + 1
        if span:
            response.headers["Content-Range"] = f"bytes {first}-{last}/{entry.size_bytes}"
        await response.prepare(request)
        if last >= first:
            async for chunk in self._repository.read(entry, first, last - first + 1):
                await response.write(chunk)
        await response.write_eof()
        return response

    async def _put(self, request: web.Request, path: BlobPath) -> web.StreamResponse:
        kind = request.headers.get("x-ms-blob-type", "BlockBlob")
        if kind != "BlockBlob" or "x-ms-copy-source" in request.headers:
            raise BlobRefused("UnsupportedHeader", "only block blobs can be uploaded")
        blob = await self._repository.write(
            path,
            _body(request),
            metadata=metadata_of(request.headers),
            content_type=_content_type(request),
            only_new=_only_new(request),
            md5=md5_of(request.headers),
        )
        return web.Response(status=201, headers=_validators(blob))

    async def _put_block(self, request: web.Request, path: BlobPath) -> web.StreamResponse:
        block_id = request.query.get("blockid", "")
        if not 0 < len(block_id) <= MAX_BLOCK_ID_CHARS:
            raise BlobRefused("InvalidQueryParameterValue", "blockid is missing or too long")
        await self._repository.stage(path, block_id, _body(request), md5=md5_of(request.headers))
        return web.Response(status=201)

    async def _put_block_list(self, request: web.Request, path: BlobPath) -> web.StreamResponse:
        data = bytearray()
        async for chunk in _body(request):
            data += chunk
            if len(data) > MAX_BLOCK_LIST_BYTES:
                raise BlobRefused("RequestBodyTooLarge", "the block list is too long", 413)
        blob = await self._repository.commit(
            path,
            parse_block_list(bytes(data)),
            metadata=metadata_of(request.headers),
            content_type=_content_type(request),
            only_new=_only_new(request),
        )
        return web.Response(status=201, headers=_validators(blob))


def _refused(request: web.Request, error: HeadraceError) -> web.Response:
    answer = refusal(error, with_body=request.method != "HEAD")
    log.info("blob request refused", method=request.method, code=answer.headers[ERROR_CODE])
    # What is left of a refused upload is not worth reading.
    if not request.content.at_eof() and request.body_exists:
        answer.force_close()
    return answer


def _require_method(request: web.Request, path: BlobPath) -> None:
    allowed: Sequence[str] = METHODS_OF_A_BLOB if path.blob else _METHODS_OF_A_CONTAINER
    if path.container == DIGESTS:
        allowed = _METHODS_OF_A_DIGEST
    if request.method not in allowed:
        words = f"{request.method} is not supported here"
        raise BlobRefused("UnsupportedHttpVerb", words, 405, allowed=allowed)


async def _body(request: web.Request) -> AsyncIterator[bytes]:
    """The body in pieces. Raises BlobRefused when the client stops half way."""
    while True:
        try:
            async with asyncio.timeout(CHUNK_TIMEOUT_S):
                chunk = await request.content.read(CHUNK_BYTES)
        except TimeoutError:
            raise BlobRefused(
                "OperationTimedOut", f"the body stalled for {CHUNK_TIMEOUT_S:g} s", 408
            ) from None
        except (ClientPayloadError, web.RequestPayloadError):
            words = "the body is shorter than its length, or does not match its Transfer-Encoding"
            raise BlobRefused("IncompleteBody", words) from None
        if not chunk:
            return
        yield chunk


def _only_new(request: web.Request) -> bool:
    return request.headers.get("If-None-Match", "").strip() == "*"


def _content_type(request: web.Request) -> str:
    given = request.headers.get("x-ms-blob-content-type") or request.headers.get("Content-Type")
    check_text("Content-Type", given or "")
    return given or "application/octet-stream"


def _validators(blob: BlobEntry) -> dict[str, str]:
    return {"ETag": blob.etag, "Last-Modified": http_date(blob.modified)}


def _headers(blob: BlobEntry) -> dict[str, str]:
    headers = {
        **_validators(blob),
        "Content-Type": blob.content_type,
        "Accept-Ranges": "bytes",
        "x-ms-blob-type": "BlockBlob",
        "x-ms-version": "2024-11-04",
        # A page that a browser shows must not run what somebody uploaded.
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox",
    }
    return headers | {METADATA_PREFIX + name: value for name, value in blob.metadata.items()}
