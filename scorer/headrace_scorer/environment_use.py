"""Which environments are in use, and the end of those that are not.

    <home>/environments/<digest>.used      locked shared by each process that uses it, for as long
                                           as that lives
    <home>/environments/<digest>.complete  its time is that of the last start

Who collects takes both locks of an environment alone before it touches it, so that nobody builds or
uses what goes. The lock files stay: another process may be waiting at one.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil

UNUSED_S: Final = 14 * 24 * 3600.0
_POLL_S: Final = 0.05
_held: Final[dict[Path, int]] = {}
"""Open for the rest of the process' life: an instance uses its environment until it ends."""


async def hold(root: Path, digest: str) -> None:
    """Say that this process uses the environment, before it looks whether it is there."""
    path = _used(root, digest)
    if path not in _held:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # A lock of the system has no event to wait for.
        while not _try(descriptor, fcntl.LOCK_SH):  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)
        _held[path] = descriptor
    with contextlib.suppress(FileNotFoundError):
        os.utime(_complete(root, digest))


def collect(
    root: Path, *, now_s: float, unused_s: float = UNUSED_S, dry: bool = False
) -> tuple[int, int]:
    """Remove what nobody has used for so long, and what a killed builder left; blocking.

    Return how many environments, and their bytes. `now_s` is Unix time. `dry` only looks.
    """
    if not root.is_dir():
        return 0, 0
    running = _programs()
    folders = (path for path in root.iterdir() if path.is_dir())
    # Workers of an instance that an earlier release started hold no lock.
    found = [path for path in folders if str(path / "bin" / "python") not in running]
    sizes = [_take(path, now_s - unused_s, dry) for path in found]
    taken = [size for size in sizes if size is not None]
    return len(taken), sum(taken)


def _programs() -> set[str]:
    """What the processes of this machine were started as."""
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, IndexError):
            found.add(process.cmdline()[0])
    return found


def _take(folder: Path, before_s: float, dry: bool) -> int | None:
    """The bytes of an environment that goes; None of one that stays."""
    root, digest = folder.parent, folder.name
    complete = _complete(root, digest)
    with (
        _alone(root / f"{digest}.lock") as nobody_builds,
        _alone(_used(root, digest)) as nobody_uses,
    ):
        if not (nobody_builds and nobody_uses):
            return None
        if complete.exists() and complete.stat().st_mtime > before_s:
            return None
        size = sum(path.lstat().st_size for path in folder.rglob("*"))
        if not dry:
            complete.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
        return size


def _complete(root: Path, digest: str) -> Path:
    return root / f"{digest}.complete"


def _used(root: Path, digest: str) -> Path:
    return root / f"{digest}.used"


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[bool]:
    """Whether nobody else holds the file, for as long as this does."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield _try(descriptor, fcntl.LOCK_EX)
    finally:
        os.close(descriptor)


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
