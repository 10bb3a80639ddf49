"""The worker's console: every line of print and logging, formatted as azure_behaviour.md 6.5."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import os
import sys
import threading
import time
from typing import Final

from .frames import Call

LINE_BYTES: Final = 16 * 1024  # a longer line is cut in pieces
ACCESS_LINES_PER_S: Final = 20  # more requests than that are counted, not written one by one

log = logging.getLogger("azmlinfsrv")


class _Formatter(logging.Formatter):
    converter = time.gmtime  # type: ignore[assignment]  # as the documentation has it

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname).1s [%(process)d] %(name)s - %(message)s")


class _Descriptor(logging.Handler):
    """Writes whole records to the console's descriptor, past any replaced sys.stdout."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.setFormatter(_Formatter())

    def emit(self, record: logging.LogRecord) -> None:
        try:
            data = (self.format(record) + "\n").encode("utf-8", "replace")
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            pass  # the scorer is gone, and so are we in a moment


class _Lines(io.TextIOBase):
    """Stands in for sys.stdout and sys.stderr: each finished line becomes a log record."""

    def __init__(self, level: int, descriptor: int) -> None:
        super().__init__()
        self._log = logging.getLogger("azmlinfsrv.print")
        self._level = level
        self._descriptor = descriptor
        self._lock = threading.RLock()
        self._rest = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a plain attribute in typeshed
        return "utf-8"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, text: str) -> int:
        with self._lock:
            *lines, self._rest = (self._rest + text).split("\n")
            while len(self._rest) > LINE_BYTES:
                lines.append(self._rest[:LINE_BYTES])
                self._rest = self._rest[LINE_BYTES:]
        for line in lines:
            self._emit(line)
        return len(text)

    def flush(self) -> None:
        """A line without its end is kept until the end comes: progress bars flush all the time."""

    def finish(self) -> None:
        with self._lock:
            rest, self._rest = self._rest, ""
        if rest:
            self._emit(rest)

    def _emit(self, line: str) -> None:
        for start in range(0, max(len(line), 1), LINE_BYTES):
            self._log.log(self._level, "%s", line[start : start + LINE_BYTES])


def capture(app_root: str) -> None:
    """Take over stdout, stderr and the server's logger; logging.json of the app root wins."""
    log.setLevel(os.environ.get("AZUREML_LOG_LEVEL", "INFO").upper() or "INFO")
    log.propagate = False
    log.handlers[:] = [_Descriptor(1)]
    sys.stdout = _Lines(logging.INFO, 1)
    sys.stderr = _Lines(logging.ERROR, 2)
    path = os.path.join(app_root, "logging.json")
    if os.path.isfile(path):
        with open(path, encoding="utf-8") as file:
            logging.config.dictConfig(json.load(file))


def finish() -> None:
    """Write what print has left without a line end."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, _Lines):
            stream.finish()


class AccessLog:
    """One line a request, `POST /score 200 0.581ms 36`, up to ACCESS_LINES_PER_S."""

    def __init__(self) -> None:
        self._until = 0.0
        self._written = 0
        self._skipped = 0

    def write(self, call: Call, status: int, started: float, size: int) -> None:
        """`started` by perf_counter; `size` in bytes."""
        now = time.perf_counter()
        if now >= self._until:
            self._next_second(now)
        if self._written >= ACCESS_LINES_PER_S:
            self._skipped += 1
            return
        self._written += 1
        target = call.path + "?" + call.query if call.query else call.path
        milliseconds = (now - started) * 1e3
        log.info("%s %s %d %.3fms %d", call.method, target, status, milliseconds, size)

    def _next_second(self, now: float) -> None:
        if self._skipped:
            log.info("%d further requests were answered without a line each", self._skipped)
        self._until, self._written, self._skipped = now + 1.0, 0, 0
