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
from typing import Any, Final

from .frames import Call

LINE_BYTES: Final = 16 * 1024  # a longer line is cut in pieces
ACCESS_LINES_PER_S: Final = 20  # more requests than that are counted, not written one by one

PRINTED: Final = "azmlinfsrv.print"
DEFAULT_LEVEL: Final = "INFO"


class _Own(logging.Logger):
    """A logger of ours, which no call of the script's can silence.

    It is not registered, so that `dictConfig` does not find it, and it ignores `logging.disable`.
    """

    def isEnabledFor(self, level: int) -> bool:
        return level >= self.level

    def adopt(self, other: logging.Logger) -> None:
        """Take over what `logging.json` made of the registered logger of the same name."""
        self.setLevel(other.getEffectiveLevel())
        self.handlers = list(other.handlers)
        self.propagate, self.parent = other.propagate, logging.getLogger()


log: Final = _Own("azmlinfsrv")
_printed: Final = _Own(PRINTED)


class _Formatter(logging.Formatter):
    """The console's line; `message` is how the script wants its own part of it."""

    converter = time.gmtime  # type: ignore[assignment]  # as the documentation has it

    def __init__(self, message: logging.Formatter | None = None) -> None:
        super().__init__("%(asctime)s %(levelname).1s [%(process)d] %(name)s - %(message)s")
        self._message = message

    def formatMessage(self, record: logging.LogRecord) -> str:
        if self._message is not None:
            record.message = self._message.formatMessage(record)
        return super().formatMessage(record)


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


class _Lines(io.RawIOBase):
    """What sys.stdout and sys.stderr write into: each finished line becomes a log record."""

    def __init__(self, name: str, level: int, descriptor: int) -> None:
        super().__init__()
        self.name = "<%s>" % name
        self._level = level
        self._descriptor = descriptor
        self._lock = threading.RLock()
        self._rest = b""
        self._inside = threading.local()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: Any) -> int:
        """A line without its end is kept until the end comes: progress bars flush all the time."""
        text = bytes(data)
        with self._lock:
            *lines, self._rest = (self._rest + text).split(b"\n")
            while len(self._rest) > LINE_BYTES:
                lines.append(self._rest[:LINE_BYTES])
                self._rest = self._rest[LINE_BYTES:]
        for line in lines:
            self._emit(line)
        return len(text)

    def finish(self) -> None:
        with self._lock:
            rest, self._rest = self._rest, b""
        if rest:
            self._emit(rest)

    def _emit(self, line: bytes) -> None:
        if getattr(self._inside, "now", False):
            os.write(self._descriptor, line + b"\n")  # a handler of the script's writes to us
            return
        text = line.decode("utf-8", "replace")
        self._inside.now = True
        try:
            for start in range(0, max(len(text), 1), LINE_BYTES):
                _printed.log(self._level, "%s", text[start : start + LINE_BYTES])
        finally:
            self._inside.now = False


def capture(app_root: str) -> None:
    """Take over stdout, stderr and logging; logging.json of the app root wins."""
    registered = logging.getLogger(log.name)
    level = _level(os.environ.get("AZUREML_LOG_LEVEL", ""))
    registered.setLevel(level)
    registered.propagate = False
    registered.handlers[:] = [_Descriptor(1)]
    root = logging.getLogger()
    root.setLevel(level)
    root.handlers[:] = [_Descriptor(2)]
    logging.basicConfig = _basic_config
    for name, of_level, descriptor in (("stdout", logging.INFO, 1), ("stderr", logging.ERROR, 2)):
        setattr(sys, name, _text_stream(_Lines(name, of_level, descriptor)))
    problem = _configure(os.path.join(app_root, "logging.json"))
    log.adopt(registered)
    _printed.adopt(logging.getLogger(PRINTED))
    _printed.handlers = _printed.handlers or log.handlers
    _printed.propagate = False
    if problem:
        log.error("%s", problem)


def _text_stream(raw: _Lines) -> io.TextIOWrapper:
    """Everything a script may ask of sys.stdout, such as `reconfigure` and `buffer`."""
    buffer = io.BufferedWriter(raw)
    return io.TextIOWrapper(
        buffer, encoding="utf-8", errors="backslashreplace", line_buffering=True, newline="\n"
    )


def _level(text: str) -> int:
    """The level of that name; the default for a name that is none, as the original server."""
    found = logging.getLevelName((text or DEFAULT_LEVEL).upper())
    return found if isinstance(found, int) else logging.INFO


def _configure(path: str) -> str:
    """Apply logging.json; returns what is wrong with it, empty when nothing is."""
    if not os.path.isfile(path):
        return ""
    try:
        with open(path, encoding="utf-8") as file:
            logging.config.dictConfig(json.load(file))
    except (OSError, ValueError, TypeError, AttributeError, ImportError) as error:
        return "logging.json is not applied: %s" % error
    return ""


_original_basic_config: Final = logging.basicConfig


def _basic_config(**options: Any) -> None:
    """`logging.basicConfig` while the console's handler is the only one.

    The original does nothing when the root logger has a handler, and it has ours. Level and format
    apply to that one, so that each record keeps its own level; anything else replaces it.
    """
    root = logging.getLogger()
    ours = [one for one in root.handlers if isinstance(one, _Descriptor)]
    simple = not any(options.get(one) for one in ("filename", "handlers", "stream", "force"))
    if ours != root.handlers or not ours:
        _original_basic_config(**options)
    elif simple:
        if options.get("level") is not None:
            root.setLevel(options["level"])
        if options.get("format"):
            style = options.get("style", "%")
            own = logging.Formatter(options["format"], options.get("datefmt"), style)
            ours[0].setFormatter(_Formatter(own))
    else:
        root.removeHandler(ours[0])
        _original_basic_config(**options)


def finish() -> None:
    """Write what print has left without a line end."""
    for stream in (sys.stdout, sys.stderr):
        raw = getattr(getattr(stream, "buffer", None), "raw", None)
        if isinstance(raw, _Lines):
            stream.flush()
            raw.finish()


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
