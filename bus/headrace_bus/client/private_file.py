"""Files that hold secrets: mode 0600 from the first byte, whole or not there at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

PRIVATE_FOLDER: Final = 0o700
_PRIVATE_FILE: Final = 0o600


def write_private(path: Path, text: str) -> None:
    """Write or replace the file."""
    temporary = _written(path, text)
    try:
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_private_once(path: Path, text: str) -> None:
    """Write the file unless it exists; of two writers at once the first one's text stays."""
    temporary = _written(path, text)
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        return
    finally:
        temporary.unlink()


def _written(path: Path, text: str) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return temporary
