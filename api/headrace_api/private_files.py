"""Small private files: never half written, never wider open, safe when two start at once."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

PRIVATE_FOLDER: Final = 0o700
PRIVATE_FILE: Final = 0o600
MAX_FILE_BYTES: Final = 64 * 1024


def write_private(
    path: Path, data: bytes | str, *, mode: int = PRIVATE_FILE, sync: bool = True
) -> None:
    """Write or replace the file in one step: no reader ever sees half of it or a wider mode.

    Without `sync` a power cut may lose it. Raises OSError.
    """
    temporary = _written(path, data, mode, sync)
    try:
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_private_once(path: Path, data: bytes | str) -> None:
    """Write the file unless it exists; of two writers at once the first one's data stays."""
    read_or_create(path, data)


def read_private(path: Path) -> bytes:
    """Raises OSError when it is missing or unreadable."""
    with path.open("rb") as file:
        return file.read(MAX_FILE_BYTES)


def read_or_create(path: Path, data: bytes | str) -> bytes:
    """The file's bytes; when there is none, create it with `data`. The first writer wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        return read_private(path)
    temporary = _written(path, data, PRIVATE_FILE, sync=True)
    try:
        # A hard link fails when the name is taken, and never shows a file that is still empty.
        path.hardlink_to(temporary)
    except FileExistsError:
        return read_private(path)
    finally:
        temporary.unlink()
    return _bytes(data)


def _written(path: Path, data: bytes | str, mode: int, sync: bool) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(_bytes(data))
            file.flush()
            if sync:
                os.fsync(descriptor)
    except OSError:
        temporary.unlink(missing_ok=True)  # a full disk must not also keep what did not fit
        raise
    return temporary


def _bytes(data: bytes | str) -> bytes:
    return data.encode() if isinstance(data, str) else data
