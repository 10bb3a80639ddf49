"""Small files with secrets: created private, replaced whole, safe when two start at once."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

PRIVATE_DIR: Final = 0o700
PRIVATE_FILE: Final = 0o600
MAX_FILE_BYTES: Final = 64 * 1024


def write_private(path: Path, data: bytes, *, mode: int = PRIVATE_FILE) -> None:
    """Replace the file in one step; no reader ever sees half of it or a wider mode."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    _write_new(temporary, data, mode)
    os.replace(temporary, path)


def read_private(path: Path) -> bytes:
    """Raises OSError when it is missing or unreadable."""
    with path.open("rb") as file:
        return file.read(MAX_FILE_BYTES)


def read_or_create(path: Path, data: bytes) -> bytes:
    """Return the file's bytes; when there is none, create it with `data`. The first writer wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    if path.exists():
        return read_private(path)
    _write_new(temporary, data, PRIVATE_FILE)
    try:
        # A hard link fails when the name is taken, and never shows a file that is still empty.
        os.link(temporary, path)
    except FileExistsError:
        return read_private(path)
    finally:
        temporary.unlink()
    return data


def _write_new(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(data)
        file.flush()
        os.fsync(descriptor)
