"""Structured logs: a constant event sentence and fields, never a body or a credential.

Modules write `log = structlog.get_logger(__name__)` and `log.info("instance ready", iid=iid)`.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TextIO, cast

import structlog

from headrace_telemetry.lines import Lines

LEVEL_VARIABLE = "HEADRACE_LOG_LEVEL"
_LOST = '{"event": "log lines were lost, as they could not be written", "lines": %d}\n'


def configure(service: str, *, json_lines: bool | None = None, least: str = "INFO") -> None:
    """Send structlog and the standard library's loggers of this process to stderr.

    A terminal gets aligned text, anything else JSON lines; `json_lines` decides when given.
    `least` is the level where HEADRACE_LOG_LEVEL says nothing.
    """
    asked = os.environ.get(LEVEL_VARIABLE, least)
    level = logging.getLevelNamesMapping().get(asked, logging.INFO)
    machine = not sys.stderr.isatty() if json_lines is None else json_lines
    structlog.configure(
        processors=_processors(machine),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Log(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    logging.basicConfig(level=max(level, logging.WARNING), stream=sys.stderr, force=True)


class _Log:
    """stderr as a log writes to it, which must never fail who logs."""

    def __init__(self, stream: TextIO) -> None:
        self._lines = Lines(stream.fileno())
        self._encoding = stream.encoding
        self._lost = 0

    def write(self, text: str) -> None:
        if self._lost and self._put(_LOST % self._lost):
            self._lost = 0
        self._lost += not self._put(text)

    def flush(self) -> None:
        """Each line was written by itself."""

    def _put(self, text: str) -> bool:
        return self._lines.put(text.encode(self._encoding, "backslashreplace"))


def _processors(machine: bool) -> list[structlog.typing.Processor]:
    common: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if machine:
        return [
            *common,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ]
    return [*common, structlog.dev.ConsoleRenderer()]
