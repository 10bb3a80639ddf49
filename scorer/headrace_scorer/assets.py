"""Model and code of an instance, from blobs by digest into a folder that instances share.

    <home>/blobs/sha256/ab/<digest>  ->  <home>/assets/<digest of the file list>/...

A folder is built under a temporary name and renamed: it is complete when it exists, whoever was
first. Files are copies, verified on the way, read-only, never written after; each has the same
time, so that one a script has written to all the same is seen, and its folder is built anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

import structlog

from headrace_bus.errors import BlobNotFound, DigestMismatch
from headrace_bus.wire.launch import AssetFile
from headrace_scorer.errors import LaunchRefused

log = structlog.get_logger(__name__)

READ_BYTES: Final = 1024 * 1024
BUILDING: Final = ".building-"
UNTOUCHED_NS: Final = 1_577_836_800 * 10**9  # 2020-01-01: the time of a file that nobody changed
MAX_PARTS: Final = 100  # of a path: folders are made and removed level by level
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def blob_path(blobs: Path, digest: str) -> Path:
    """Where the folder store keeps the bytes of a digest."""
    return blobs / "sha256" / digest[:2] / digest


def tree_digest(files: Sequence[AssetFile]) -> str:
    """Name of the folder that holds exactly these files."""
    listed = sorted((file.path, file.digest) for file in files)
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def materialise(files: Sequence[AssetFile], blobs: Path, assets: Path) -> Path:
    """Return a folder with these files; blocking, so call it in a thread.

    Raises LaunchRefused for a path that leaves the folder, BlobNotFound, DigestMismatch, OSError.
    """
    for file in files:
        _check(file)
    target = assets / tree_digest(files)
    if _is_whole(target, files):
        return target
    assets.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _among_builders(assets):
        building = Path(tempfile.mkdtemp(prefix=BUILDING, dir=assets))
        try:
            for file in files:
                _place(file, blob_path(blobs, file.digest), building / file.path)
            _publish(building, target, files)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return target


@contextlib.contextmanager
def _among_builders(assets: Path) -> Iterator[None]:
    """Share the folder with others who build; alone in it, clear what killed ones left."""
    descriptor = os.open(assets, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in assets.glob(f"{BUILDING}*"):
                shutil.rmtree(left, ignore_errors=True)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def _check(file: AssetFile) -> None:
    parts = PurePosixPath(file.path).parts
    wrong = not parts or file.path.startswith("/") or ".." in parts or "\0" in file.path
    if wrong or "\\" in file.path:
        raise LaunchRefused(
            f"asset file {file.path!r} leaves its folder: use a relative path without '..'",
            target="path",
        )
    if len(parts) > MAX_PARTS:
        raise LaunchRefused(
            f"asset file {file.path[:80]!r}... lies {len(parts)} folders deep, at most {MAX_PARTS} "
            "are possible",
            target="path",
        )
    if not _DIGEST.fullmatch(file.digest):
        raise LaunchRefused(f"asset file {file.path!r} has no SHA-256 digest", target="digest")


def _place(file: AssetFile, source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with source.open("rb") as data, target.open("xb") as copy:
            found = _copy(data.fileno(), copy.fileno())
    except FileNotFoundError:
        raise BlobNotFound(file.digest) from None
    if found != file.digest:
        raise DigestMismatch(file.digest, found)
    target.chmod(0o400)
    os.utime(target, ns=(UNTOUCHED_NS, UNTOUCHED_NS))


def _copy(source: int, target: int) -> str:
    """Copy and hash in one pass.

    Not a hard link: a script that opens a model for writing must not reach the stored bytes.
    """
    digest = hashlib.sha256()
    while data := os.read(source, READ_BYTES):
        digest.update(data)
        left = memoryview(data)
        while left:
            left = left[os.write(target, left) :]
    return digest.hexdigest()


def _is_whole(folder: Path, files: Sequence[AssetFile]) -> bool:
    """Whether all files are there as they were placed."""
    try:
        for file in files:
            found = (folder / file.path).lstat()
            if (found.st_size, found.st_mtime_ns) != (file.size_bytes, UNTOUCHED_NS):
                return False
    except OSError:
        return False
    return True


def _publish(building: Path, target: Path, files: Sequence[AssetFile]) -> None:
    """Put it in its place; one that was changed there steps aside.

    Another instance may be first: its folder has the same files.
    """
    building.chmod(0o700)
    aside = building.with_name(f"{building.name}.old")
    if target.is_dir() and not _is_whole(target, files):
        with contextlib.suppress(OSError):
            target.rename(aside)
            log.warning("a script changed files of a model; they are made anew", folder=target.name)
    with contextlib.suppress(OSError):
        building.rename(target)
    shutil.rmtree(aside, ignore_errors=True)
    if not target.is_dir():
        building.rename(target)
