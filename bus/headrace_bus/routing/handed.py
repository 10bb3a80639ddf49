"""Large bodies handed over as a nameless file, where ingress and worker share a machine.

    ingress: HandedFile(folder).add(part)...   a file without a name, first a nonce, then the body
    request: header hr-body = <pid>.<descriptor>.<size>.<may answer>.<nonce>, no body
    worker:  opens /proc/<pid>/fd/<descriptor>, checks the nonce, reads; writes its answer behind
    answer:  header hr-size = <bytes of the answer>, no body

Only the descriptor keeps the file, so whoever dies, nothing is left behind. The nonce tells the
file from another one that got the same descriptor later. `reach` names who can open it.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

from headrace_bus.wire.head import Headers

HEADER: Final = "hr-body"
SIZE_HEADER: Final = "hr-size"
HANDED_BYTES: Final = 64 * 1024  # below it a message costs less than a file
NONCE_BYTES: Final = 16
MESSAGE_BYTES: Final = 7 * 1024 * 1024  # of a body inside one message of at most 8 MB


@cache
def reach() -> str:
    """Whoever says the same can open our descriptors: machine, process namespace and user."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return ""  # no Linux: nothing is handed over
    return f"{boot}.{namespace}.{os.geteuid()}"


class HandedFile:
    """A body on its way in, and the answer behind it. Closed when nobody holds it any more.

    A request, its retry and its mirror's copy share one; the last of them to end lets it go.
    """

    __slots__ = ("_descriptor", "_nonce", "size_bytes")

    def __init__(self, folder: Path) -> None:
        """Raises OSError."""
        self._nonce = secrets.token_bytes(NONCE_BYTES)
        self._descriptor = _nameless(folder)
        self.size_bytes = 0
        _write(self._descriptor, self._nonce)

    def add(self, part: bytes) -> None:
        """Append to the body. Raises OSError, with a disk that is full."""
        _write(self._descriptor, part)
        self.size_bytes += len(part)

    def reference(self, *, may_answer: bool) -> str:
        """What `hr-body` says of it; a copy that may not answer leaves the answer's place alone."""
        return (
            f"{os.getpid()}.{self._descriptor}.{self.size_bytes}.{may_answer:d}.{self._nonce.hex()}"
        )

    def body(self) -> bytes:
        """The whole body, for an instance that cannot open the file. Raises OSError."""
        return os.pread(self._descriptor, self.size_bytes, NONCE_BYTES)

    def answer(self, size_bytes: int, at: int = 0) -> bytes:
        """A piece of what the worker wrote. Raises OSError."""
        return os.pread(self._descriptor, size_bytes, NONCE_BYTES + self.size_bytes + at)

    def __del__(self) -> None:
        descriptor = getattr(self, "_descriptor", -1)
        if descriptor >= 0:
            os.close(descriptor)


def answer_size(headers: Headers) -> int | None:
    """Bytes of an answer left in the file; None when the answer came with its message."""
    for name, value in reversed(headers):
        if name == SIZE_HEADER:
            return int(value) if value.isascii() and value.isdigit() and len(value) < 12 else None
    return None


def _nameless(folder: Path) -> int:
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if not folder.is_dir():
            raise error
    # Some file systems make no nameless files.
    descriptor, name = tempfile.mkstemp(dir=folder)
    os.unlink(name)
    return descriptor


def _write(descriptor: int, data: bytes) -> None:
    done = os.write(descriptor, data)
    while done < len(data):
        done += os.write(descriptor, memoryview(data)[done:])
