"""Blocks of uploads that are not committed yet: one file each, in any order, until the list comes.

    <root>/<hash of container and blob>/<hash of the block id>

Names are hashes, so nothing a client sends ever becomes a path.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from headrace_api.errors import NoRoom
from headrace_services.control.blobs.http import BlobPath, BlobRefused

IDLE_S: Final = 3600.0  # a writer that sent nothing for so long is gone
_MOST_STARVED: Final = 1024  # uploads that are remembered
MOST_REPEATED_BYTES: Final = 64 * 1024 * 1024  # of a blob, beyond what was uploaded
READ_BYTES: Final = 1024 * 1024
_TEMPORARY: Final = ".part"


class BlockStage:
    """Where blocks wait. Files are touched in threads only."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._starved: set[Path] = set()
        """Where blocks were dropped for want of room: their lists are told so."""

    async def keep(
        self, path: BlobPath, block_id: str, chunks: AsyncIterable[bytes], md5: bytes | None
    ) -> None:
        """Store a block in place of an earlier one of its id.

        Raises BlobRefused on a wrong MD5, and OSError: on a full disk all blocks of the blob are
        dropped, for they keep the room that others need.
        """
        folder = self._folder(path)
        part = folder / (secrets.token_hex(8) + _TEMPORARY)
        file = await asyncio.to_thread(_create, part)
        try:
            found = hashlib.md5(usedforsecurity=False)
            async for chunk in chunks:
                await asyncio.to_thread(file.write, chunk)
                found.update(chunk)
            if md5 is not None and found.digest() != md5:
                raise BlobRefused("Md5Mismatch", "the block does not match its Content-MD5")
            await asyncio.to_thread(_finish, file, part, folder / _hashed(block_id))
        except OSError as error:
            if NoRoom.is_cause(error):
                await self.starve(path)
            raise
        finally:
            await asyncio.to_thread(_abandon, file, part)

    async def joined(self, path: BlobPath, block_ids: Sequence[str]) -> AsyncIterator[bytes]:
        """The bytes of the blocks in this order.

        Raises NoRoom when they were dropped for want of room, and BlobRefused when one was never
        sent, or when blocks named again and again would make the blob larger than what was sent by
        more than MOST_REPEATED_BYTES.
        Small blocks go to a thread together: a turn for each would cost more than reading it.
        """
        folder = self._folder(path)
        pieces = _joined(folder, block_ids)
        try:
            while piece := await asyncio.to_thread(next, pieces, b""):
                yield piece
        except BlobRefused:
            if folder in self._starved:
                raise NoRoom("the blocks of this upload") from None
            raise

    async def starve(self, path: BlobPath) -> None:
        """Forget the blocks of a blob for which there is no room."""
        await self.drop(path)
        if len(self._starved) >= _MOST_STARVED:
            self._starved.clear()
        self._starved.add(self._folder(path))

    async def drop(self, path: BlobPath) -> None:
        """Forget the blocks of a blob."""
        self._starved.discard(self._folder(path))
        await asyncio.to_thread(shutil.rmtree, self._folder(path), ignore_errors=True)

    async def drop_idle(self, *, dry: bool = False) -> list[int]:
        """Forget blocks of writers that are gone; the size in bytes of what each blob had.

        `dry` only looks.
        """
        return await asyncio.to_thread(_drop_idle, self._root, dry)

    def _folder(self, path: BlobPath) -> Path:
        return self._root / _hashed(f"{path.container}/{path.blob}")


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _joined(folder: Path, block_ids: Sequence[str]) -> Iterator[bytes]:
    """In pieces of READ_BYTES to twice as many, but for the last."""
    _require_bounded(folder, block_ids)
    gathered = bytearray()
    for block_id in block_ids:
        try:
            file = (folder / _hashed(block_id)).open("rb")
        except FileNotFoundError:
            raise _missing(block_id) from None
        with file:
            while piece := file.read(READ_BYTES):
                gathered += piece
                if len(gathered) >= READ_BYTES:
                    yield bytes(gathered)
                    gathered.clear()
    yield bytes(gathered)


def _require_bounded(folder: Path, block_ids: Sequence[str]) -> None:
    """Looks at no file where each block is named once, as every client does."""
    repeated = 0
    for block_id, times in Counter(block_ids).items():
        if times > 1:
            try:
                repeated += (times - 1) * (folder / _hashed(block_id)).stat().st_size
            except FileNotFoundError:
                raise _missing(block_id) from None
    if repeated > MOST_REPEATED_BYTES:
        raise BlobRefused(
            "RequestBodyTooLarge",
            f"blocks named more than once add {repeated} bytes to the blob; "
            f"at most {MOST_REPEATED_BYTES} may be",
            413,
        )


def _missing(block_id: str) -> BlobRefused:
    return BlobRefused("InvalidBlockList", f"block {block_id!r} was not uploaded")


def _create(part: Path) -> BinaryIO:
    part.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _finish(file: BinaryIO, part: Path, target: Path) -> None:
    file.close()
    part.replace(target)


def _abandon(file: BinaryIO, part: Path) -> None:
    with suppress(OSError):  # what is still to be written may have no room
        file.close()
    part.unlink(missing_ok=True)


def _drop_idle(root: Path, dry: bool) -> list[int]:
    if not root.is_dir():
        return []
    oldest = time.time() - IDLE_S
    dropped = []
    for folder in root.iterdir():
        states = [file.stat() for file in folder.iterdir()]
        if max([folder.stat().st_mtime, *(one.st_mtime for one in states)]) < oldest:
            dropped.append(sum(one.st_size for one in states))
            if not dry:
                shutil.rmtree(folder, ignore_errors=True)
    return dropped
