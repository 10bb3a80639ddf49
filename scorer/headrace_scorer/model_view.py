"""An instance's own view of a model that instances share.

A script may create, replace and remove files in its view without any other instance seeing it.
Where the file system can, files are clones, which are copied as they are written to. Else small
models are copied; the files of large ones are hard links, read-only. A script that makes one of
those writable and writes into it changes it for the instances that share it; that is noticed, and
mended, before the next instance uses it (`assets.materialise`).
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from typing import Final

COPIED_BYTES: Final = 16 * 1024 * 1024  # of a whole model; more would be felt in each start
_FICLONE: Final = 0x40049409  # linux/fs.h
_WRITABLE: Final = 0o600


def view(model: Path, place: Path) -> None:
    """Make the view anew; blocking. Raises OSError."""
    if place.is_symlink():  # as an earlier release left it
        place.unlink()
    shutil.rmtree(place, ignore_errors=True)
    files = [path for path in model.rglob("*") if path.is_file()]
    copied = sum(path.stat().st_size for path in files) <= COPIED_BYTES
    place.mkdir(parents=True)
    for path in files:
        target = place / path.relative_to(model)
        target.parent.mkdir(parents=True, exist_ok=True)
        _share(path, target, copied=copied)


def _share(source: Path, target: Path, *, copied: bool) -> None:
    if _clone(source, target):
        return
    if not copied:
        try:
            os.link(source, target)
        except OSError:  # another file system, or more links than this one counts
            pass
        else:
            return
    shutil.copyfile(source, target)
    target.chmod(_WRITABLE)


def _clone(source: Path, target: Path) -> bool:
    """Whether the file system made a clone of the file."""
    with source.open("rb") as data, target.open("xb") as clone:
        try:
            fcntl.ioctl(clone.fileno(), _FICLONE, data.fileno())
        except OSError:
            target.unlink()
            return False
    target.chmod(_WRITABLE)
    return True
