"""Blobs as the wire sees them: bytes by digest, names in the index, blocks before their list."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from dataclasses import replace
from typing import Final

from headrace_api.errors import Conflict, NoRoom
from headrace_bus.store.blob_index import BlobEntry, BlobIndex, BlobPage
from headrace_bus.store.blobs import BlobStore
from headrace_services.control.blobs.http import BlobPath, BlobRefused
from headrace_services.control.blobs.uploads import BlockStage
from headrace_state.blob_location import UPLOADS, BlobLocation

_NEVER_CHANGED: Final = "1970-01-01T00:00:00+00:00"  # what a digest names is the same for ever


class ContainerStore:
    """Everything below containers. Bytes are on disk before a name points at them."""

    def __init__(self, bytes_by_digest: BlobStore, index: BlobIndex, stage: BlockStage) -> None:
        self._bytes = bytes_by_digest
        self._index = index
        self._stage = stage

    async def find(self, path: BlobPath) -> BlobEntry | None:
        return await self._index.get(path.container, path.blob)

    async def by_digest(self, digest: str) -> BlobEntry | None:
        """The bytes of a digest, whatever they are named. Raises InvalidInput for no digest."""
        size_bytes = await self._bytes.size(digest)
        if size_bytes is None:
            return None
        return BlobEntry(digest=digest, size_bytes=size_bytes, modified=_NEVER_CHANGED)

    async def list(
        self, path: BlobPath, prefix: str, *, delimiter: str, marker: str, limit: int
    ) -> BlobPage:
        return await self._index.list(
            path.container, prefix, delimiter=delimiter, marker=marker, limit=limit
        )

    async def has_bytes(self, place: BlobLocation) -> bool:
        """Whether a blob, or a folder with at least one, is there."""
        if place.path and await self._index.get(place.container, place.path) is not None:
            return True
        prefix = f"{place.path}/" if place.path else ""
        return bool((await self._index.list(place.container, prefix, limit=1)).entries)

    async def write(
        self,
        path: BlobPath,
        chunks: AsyncIterable[bytes],
        *,
        content_type: str,
        metadata: Mapping[str, str],
        only_new: bool,
        md5: bytes | None = None,
    ) -> BlobEntry:
        """Keep the bytes and name them. Raises BlobRefused: the name is taken, MD5 differs."""
        if only_new and not _is_by_content(path) and await self.find(path) is not None:
            raise _taken(path)
        stored = await self._bytes.put(chunks)
        if md5 is not None and stored.md5 != md5:
            raise BlobRefused("Md5Mismatch", "the blob does not match its Content-MD5")
        entry = BlobEntry(
            digest=stored.digest,
            size_bytes=stored.size_bytes,
            content_type=content_type,
            md5=base64.b64encode(stored.md5).decode(),
            metadata=dict(metadata),
        )
        try:
            return await self._index.put(path.container, path.blob, entry, if_none_match=only_new)
        except Conflict:
            return await self._again(path, entry)

    async def _again(self, path: BlobPath, entry: BlobEntry) -> BlobEntry:
        """The same bytes once more, for a client that insists on a new name.

        Who uploads a folder anew after a client that died in it looks at its first file alone. The
        name is written again, so that a collection sees that it is young.
        """
        present = await self.find(path)
        if present is None or not _is_by_content(path) or present.digest != entry.digest:
            raise _taken(path)
        kept = replace(entry, metadata=present.metadata)
        return await self._index.put(path.container, path.blob, kept)

    async def stage(
        self, path: BlobPath, block_id: str, chunks: AsyncIterable[bytes], md5: bytes | None
    ) -> None:
        """Keep a block until its list comes."""
        await self._stage.keep(path, block_id, chunks, md5)

    async def commit(
        self,
        path: BlobPath,
        block_ids: tuple[str, ...],
        *,
        content_type: str,
        metadata: Mapping[str, str],
        only_new: bool,
    ) -> BlobEntry:
        """Join staged blocks to a blob. Raises BlobRefused as `write` does, or for a lost block."""
        try:
            entry = await self.write(
                path,
                self._stage.joined(path, block_ids),
                content_type=content_type,
                metadata=metadata,
                only_new=only_new,
            )
        except BlobRefused:
            # Another's list may have been first and have taken the blocks of both.
            if only_new and await self.find(path) is not None:
                raise _taken(path) from None
            raise
        except OSError as error:
            if NoRoom.is_cause(error):
                await self._stage.starve(path)
            raise
        await self._stage.drop(path)
        return entry

    async def set_metadata(self, path: BlobPath, metadata: Mapping[str, str]) -> BlobEntry:
        """Replace all metadata. Raises NotFound."""
        return await self._index.set_metadata(path.container, path.blob, metadata)

    async def delete(self, path: BlobPath) -> bool:
        return await self._index.delete(path.container, path.blob)

    async def is_kept(self, entry: BlobEntry) -> bool:
        return await self._bytes.exists(entry.digest)

    def read(self, entry: BlobEntry, first: int, length: int) -> AsyncIterator[bytes]:
        """Bytes by digest: who reads keeps reading the same ones whatever the name means then."""
        return self._bytes.read(entry.digest, first, length)


def _is_by_content(path: BlobPath) -> bool:
    """Whether the name says what the bytes are, as those of the stock client's uploads do."""
    return path.blob.startswith(UPLOADS)


def _taken(path: BlobPath) -> BlobRefused:
    return BlobRefused("BlobAlreadyExists", f"blob {path.blob!r} already exists", 409)
