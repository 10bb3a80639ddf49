"""Bytes by SHA-256: written beside their place, hashed, then renamed, so never half there."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import re
import threading
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple, ParamSpec, Protocol, Self, TypeVar

from headrace_api.errors import InvalidInput
from headrace_bus.errors import BlobNotFound, DigestMismatch

READ_CHUNK_BYTES: Final = 1024 * 1024
READ_TIMEOUT_S: Final = 30.0  # of one chunk; a dead disk or network folder must not hang a caller
ORPHAN_AGE_S: Final = 24 * 3600  # longer than any upload
_P = ParamSpec("_P")
_T = TypeVar("_T")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_WRITE_BYTES: Final = 1024 * 1024  # gathered before a thread is asked to write


class Stored(NamedTuple):
    """What became of an upload."""

    digest: str
    """SHA-256 in hex."""
    size_bytes: int
    md5: bytes


class BlobStore(Protocol):
    """Where bytes lie. Digests are 64 lower-case hex digits; anything else is InvalidInput."""

    async def put(self, stream: AsyncIterable[bytes], *, expected: str | None = None) -> Stored:
        """Keep the bytes. Raises DigestMismatch when they are not `expected`; nothing is kept."""
        ...

    def read(self, digest: str, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The bytes in chunks. Raises BlobNotFound, TimeoutError."""
        ...

    async def size(self, digest: str) -> int | None:
        """Bytes, or None when it is not there."""
        ...

    async def exists(self, digest: str) -> bool: ...

    async def delete(self, digest: str) -> None:
        """Forget the bytes; what is not there is no error."""
        ...

    def digests(self) -> AsyncIterator[str]:
        """All that are kept, in no promised order."""
        ...

    def path(self, digest: str) -> Path | None:
        """The file, where the store has files; read it, never write it."""
        ...


class FolderBlobs:
    """`<root>/sha256/ab/abcd...`; several processes may use one root."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "sha256"
        self._incoming = root / "incoming"
        for folder in (root, self._folder, self._incoming):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_orphans(self._incoming)

    async def put(self, stream: AsyncIterable[bytes], *, expected: str | None = None) -> Stored:
        """Memory stays flat whatever the size. See BlobStore.put."""
        if expected is not None:
            _check(expected)
        upload = await asyncio.to_thread(_Upload.begin, self._incoming)
        try:
            async for piece in _gathered(stream):
                await asyncio.to_thread(upload.write, piece)
            stored = upload.result()
            if expected is not None and stored.digest != expected:
                raise DigestMismatch(expected, stored.digest)
            await asyncio.to_thread(upload.commit, self._file(stored.digest))
        except BaseException:
            await asyncio.shield(asyncio.to_thread(upload.abandon))
            raise
        return stored

    async def read(
        self, digest: str, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """See BlobStore.read; an offset past the end gives nothing."""
        file = self._file(digest)
        left = length
        try:
            descriptor = await _bounded(os.open, file, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise BlobNotFound(digest) from None
        try:
            while left is None or left > 0:
                want = READ_CHUNK_BYTES if left is None else min(left, READ_CHUNK_BYTES)
                piece = await _bounded(os.pread, descriptor, want, offset)
                if not piece:
                    return
                offset += len(piece)
                left = None if left is None else left - len(piece)
                yield piece
        finally:
            os.close(descriptor)

    async def size(self, digest: str) -> int | None:
        try:
            return (await _bounded(os.stat, self._file(digest))).st_size
        except FileNotFoundError:
            return None

    async def exists(self, digest: str) -> bool:
        return await self.size(digest) is not None

    async def delete(self, digest: str) -> None:
        await asyncio.to_thread(self._file(digest).unlink, missing_ok=True)

    async def delete_older(self, digest: str, age_s: float, *, dry: bool = False) -> int | None:
        """Forget bytes that nobody put within `age_s`; their size, or None when they stay.

        An upload of the same bytes makes them young, and never meets a deletion half way. `dry`
        only looks.
        """
        return await asyncio.to_thread(_delete_older, self._file(digest), age_s, dry)

    async def digests(self) -> AsyncIterator[str]:
        for shelf in await asyncio.to_thread(os.listdir, self._folder):
            for name in await asyncio.to_thread(os.listdir, self._folder / shelf):
                if _DIGEST.fullmatch(name):
                    yield name

    def path(self, digest: str) -> Path:
        """Raises BlobNotFound."""
        file = self._file(digest)
        if not file.is_file():
            raise BlobNotFound(digest)
        return file

    def _file(self, digest: str) -> Path:
        _check(digest)
        return self._folder / digest[:2] / digest


class _Upload:
    """One temporary file on its way; its methods run in threads.

    The lock is for a caller that is cancelled while a thread still writes: the descriptor must not
    be closed, and its number given to another file, before that write has ended.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._size_bytes = 0
        self._lock = threading.Lock()

    @classmethod
    def begin(cls, folder: Path) -> Self:
        path = folder / f"{os.getpid()}-{os.urandom(8).hex()}"
        return cls(path, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))

    def write(self, data: bytes) -> None:
        self._sha256.update(data)
        self._md5.update(data)
        self._size_bytes += len(data)
        view = memoryview(data)
        with self._lock:
            while view and self._descriptor >= 0:
                view = view[os.write(self._descriptor, view) :]

    def result(self) -> Stored:
        return Stored(self._sha256.hexdigest(), self._size_bytes, self._md5.digest())

    def commit(self, place: Path) -> None:
        """On disk first, then under its name: a crash leaves the whole file or none."""
        with self._lock:
            if self._descriptor < 0:
                return
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
        place.parent.mkdir(mode=0o700, exist_ok=True)
        with _locked(place, fcntl.LOCK_SH):
            self._path.replace(place)
        folder = os.open(place.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def abandon(self) -> None:
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
        self._path.unlink(missing_ok=True)


@contextmanager
def _locked(place: Path, kind: int) -> Iterator[None]:
    """Uploads share the store's lock, a deletion has it alone; processes see it too."""
    descriptor = os.open(place.parent.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)


def _delete_older(place: Path, age_s: float, dry: bool) -> int | None:
    with _locked(place, fcntl.LOCK_EX):
        try:
            found = place.stat()
        except FileNotFoundError:
            return None
        if time.time() - found.st_mtime <= age_s:
            return None
        if not dry:
            place.unlink()
        return found.st_size


async def _gathered(stream: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Small pieces joined, so that a thread is asked once a megabyte."""
    pieces: list[bytes] = []
    size_bytes = 0
    async for piece in stream:
        pieces.append(bytes(piece))
        size_bytes += len(piece)
        if size_bytes >= _WRITE_BYTES:
            yield b"".join(pieces)
            pieces, size_bytes = [], 0
    if pieces:
        yield b"".join(pieces)


async def _bounded(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run in a thread and wait READ_TIMEOUT_S for it. Raises TimeoutError and what it raises."""
    async with asyncio.timeout(READ_TIMEOUT_S):
        return await asyncio.to_thread(work, *args, **kwargs)


def _remove_orphans(folder: Path) -> None:
    """Uploads of processes that died: old, or of a pid that is no more."""
    for path in folder.iterdir():
        pid = path.name.partition("-")[0]
        try:
            dead = not pid.isdigit() or not _alive(int(pid))
            if dead or time.time() - path.stat().st_mtime > ORPHAN_AGE_S:
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            continue


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _check(digest: str) -> None:
    if not _DIGEST.fullmatch(digest):
        raise InvalidInput(f"{digest[:80]!r} is not a hexadecimal SHA-256", target="digest")
