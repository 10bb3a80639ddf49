"""Large bodies handed over as a nameless file, where ingress and worker share a machine.

    ingress: SharedFile(folder).add(part)...   a file without a name, first a nonce, then the body
    request: header hr-body = <pid>.<descriptor>.<size>.<may answer>.<nonce>, no body
    worker:  opens /proc/<pid>/fd/<descriptor>, checks the nonce, reads; writes its answer behind
    answer:  header hr-size = <bytes of the answer>, no body

Only the descriptor keeps the file, so whoever dies, nothing is left behind. The nonce tells the
file from another one that got the same descriptor later. `reach` names who can open it; who cannot
pulls the bytes in pieces (`routing.far`).
"""

from __future__ import annotations

import errno
import os
import secrets
import tempfile
from functools import cache
from pathlib import Path
from typing import Final, Self

from headrace_api.home import Home
from headrace_api.machine import boot_id
from headrace_bus.wire.head import last_header

HANDOVER_VARIABLE: Final = "HEADRACE_HANDOVER"  # `off`: no body goes by another process' file
HEADER: Final = "hr-body"
SIZE_HEADER: Final = "hr-size"
PULL_HEADER: Final = "hr-pull"
HANDED_BYTES: Final = 64 * 1024  # below it a message costs less than a file
NONCE_BYTES: Final = 16
MESSAGE_BYTES: Final = 7 * 1024 * 1024  # of a body inside one message of at most 8 MB
_HEAD_BYTES: Final = 128 * 1024  # what headers, path and query may take of a message
SPOOLED_BYTES: Final = 8 * 1024 * 1024 * 1024  # in all files of one process at once


@cache
def reach() -> str:
    """Whoever says the same can open our descriptors: machine, process namespace and user."""
    if os.environ.get(HANDOVER_VARIABLE) == "off":
        return ""
    try:
        namespace = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return ""  # no Linux: nothing is handed over
    return f"{boot}.{namespace}.{os.geteuid()}" if (boot := boot_id()) else ""


class Bodies:
    """Where the files of one process lie, and how much they may hold together."""

    def __init__(self, folder: Path, max_bytes: int = SPOOLED_BYTES) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.used_bytes = 0

    @classmethod
    def below(cls, home: Home, max_bytes: int = SPOOLED_BYTES) -> Self:
        """Raises OSError."""
        folder = home.run / "bodies"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls(folder, max_bytes)

    def take(self, size_bytes: int) -> None:
        """Raises OSError, as a full disk does, when all files together would be too large."""
        if self.used_bytes + size_bytes > self.max_bytes:
            raise OSError(errno.ENOSPC, f"large bodies hold {self.used_bytes} bytes already")
        self.used_bytes += size_bytes


class SharedFile:
    """A body on its way in, and the answer behind it. Closed when nobody holds it any more.

    A request, its retry and its mirror's copy share one; the last of them to end lets it go.
    """

    __slots__ = ("_bodies", "_descriptor", "_nonce", "answer_bytes", "size_bytes")

    def __init__(self, bodies: Bodies) -> None:
        """Raises OSError."""
        self._bodies = bodies
        self.size_bytes = 0
        self.answer_bytes = 0
        """What `add_answer` wrote; a worker that writes by itself is not counted."""
        self._nonce = secrets.token_bytes(NONCE_BYTES)
        self._descriptor = _nameless(bodies.folder)
        _write(self._descriptor, self._nonce, 0)

    def add(self, part: bytes) -> None:
        """Append to the body. Raises OSError, with a disk that is full."""
        self._bodies.take(len(part))
        at = NONCE_BYTES + self.size_bytes
        self.size_bytes += len(part)
        _write(self._descriptor, part, at)

    def add_answer(self, part: bytes) -> None:
        """Append to the answer. Raises OSError."""
        self._bodies.take(len(part))
        at = NONCE_BYTES + self.size_bytes + self.answer_bytes
        self.answer_bytes += len(part)
        _write(self._descriptor, part, at)

    def clear_answer(self) -> None:
        """Forget what `add_answer` wrote."""
        self._bodies.used_bytes -= self.answer_bytes
        self.answer_bytes = 0

    def reference(self, *, may_answer: bool) -> str:
        """What `hr-body` says of it; a copy that may not answer leaves the answer's place alone."""
        return (
            f"{os.getpid()}.{self._descriptor}.{self.size_bytes}.{may_answer:d}.{self._nonce.hex()}"
        )

    def body(self, size_bytes: int | None = None, at: int = 0) -> bytes:
        """The body or a piece of it, for an instance that cannot open the file. Raises OSError.

        Behind its end there is nothing.
        """
        left = self.size_bytes - at
        if left <= 0:
            return b""
        size = left if size_bytes is None else min(size_bytes, left)
        return os.pread(self._descriptor, size, NONCE_BYTES + at)

    def answer(self, size_bytes: int, at: int = 0) -> bytes:
        """A piece of the answer. Raises OSError."""
        return os.pread(self._descriptor, size_bytes, NONCE_BYTES + self.size_bytes + at)

    def __del__(self) -> None:
        descriptor = getattr(self, "_descriptor", -1)
        if descriptor >= 0:
            os.close(descriptor)
            self._bodies.used_bytes -= self.size_bytes + self.answer_bytes


def answer_size(head: bytes) -> int | None:
    """Bytes of an answer that came without its body; None when the message has it.

    Only the last header counts: what a script says comes before it.
    """
    name, value = last_header(head)
    if name != SIZE_HEADER:
        return None
    return int(value) if value.isascii() and value.isdigit() and len(value) < 12 else None


def message_bytes(max_payload: int) -> int:
    """How much of a body goes in one message of at most `max_payload` bytes, headers included."""
    return min(MESSAGE_BYTES, max_payload - _HEAD_BYTES)


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


def _write(descriptor: int, data: bytes, at: int) -> None:
    done = os.pwrite(descriptor, data, at)
    while done < len(data):
        done += os.pwrite(descriptor, memoryview(data)[done:], at + done)
