"""A log file of an instance: whole lines, bounded in rate and in size."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Final

from headrace_telemetry.lines import Lines

LINE_MAX_BYTES: Final = 16 * 1024
FILE_MAX_BYTES: Final = 16 * 1024 * 1024  # then it becomes `.1`, of which one is kept
LINES_PER_S: Final = 2_000  # refill of the bucket
BURST_LINES: Final = 10_000
_DROPPED: Final = b"(%d lines dropped: more than the rate limit, or no room on the disk)\n"


class ConsoleFile:
    """Appends lines; drops them past the rate, or without room, and says how many."""

    def __init__(self, path: Path, *, max_bytes: int = FILE_MAX_BYTES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._rest = b""
        self._tokens = float(BURST_LINES)
        self._at = time.monotonic()
        self._dropped = 0
        self._open()

    def feed(self, data: bytes) -> None:
        """Take console bytes; a line is written when its end has come."""
        *lines, rest = (self._rest + data).split(b"\n")
        if len(rest) > LINE_MAX_BYTES:
            lines.append(rest)
            rest = b""
        self._rest = rest
        self._write([line[:LINE_MAX_BYTES] for line in lines])

    def say(self, text: str, *, level: str = "I") -> None:
        """Write a step of ours, formatted like the worker's lines."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        ms = time.time_ns() // 1_000_000 % 1000
        head = f"{stamp},{ms:03d} {level} [{os.getpid()}] headrace - "
        self._write([(head + line).encode(errors="replace") for line in text.split("\n")])

    def close(self) -> None:
        if self._rest:
            self._write([self._rest])
            self._rest = b""
        os.close(self._fd)

    def _write(self, lines: list[bytes]) -> None:
        allowed = lines[: self._allowed(len(lines))]
        if not allowed:
            return
        data = b"\n".join(allowed) + b"\n"
        if not self._lines.put(data):
            self._dropped += len(allowed)
            return
        self._size += len(data)
        if self._size > self._max_bytes:
            self._rotate()

    def _allowed(self, wanted: int) -> int:
        now = time.monotonic()
        self._tokens = min(BURST_LINES, self._tokens + (now - self._at) * LINES_PER_S)
        self._at = now
        allowed = min(wanted, int(self._tokens))
        self._tokens -= allowed
        if self._dropped and allowed and self._lines.put(_DROPPED % self._dropped):
            self._dropped = 0
        self._dropped += wanted - allowed
        return allowed

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._size = os.fstat(self._fd).st_size
        self._lines = Lines(self._fd)

    def _rotate(self) -> None:
        """Where there is no room for a new file the old one grows, until there is."""
        old = self._fd
        with contextlib.suppress(OSError):
            if self._path.exists():
                os.replace(self._path, self._path.with_suffix(".log.1"))
            self._open()
            os.close(old)
