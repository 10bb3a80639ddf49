"""Structured logs: a constant event sentence and fields, never a body or a credential.

Modules write `log = structlog.get_logger(__name__)` and `log.info("instance ready", iid=iid)`.
"""

from __future__ import annotations

import logging
import os
import sys

import structlog

LEVEL_VARIABLE = "HEADRACE_LOG_LEVEL"


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
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    logging.basicConfig(level=max(level, logging.WARNING), stream=sys.stderr, force=True)


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
