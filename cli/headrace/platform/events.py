"""What `headrace up` says while it works: for a terminal, for a log, or as NDJSON events."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, Final, Protocol

import click

from headrace.platform.status_file import StatusFile, short

TICK: Final = "✓"


class Listener(Protocol):
    """Hears each event as it happens."""

    def __call__(self, event: str, **fields: Any) -> None: ...


def ndjson(write: Callable[[str], object]) -> Listener:
    """One JSON object a line."""

    def say(event: str, **fields: Any) -> None:
        write(json.dumps({"event": event} | fields) + "\n")

    return say


def ndjson_to_stdout() -> Listener:
    def write(line: str) -> None:
        click.echo(line, nl=False)

    return ndjson(write)


class Lines:
    """Lines for people: ticks on a terminal, plain facts elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()

    def __call__(self, event: str, **fields: Any) -> None:
        say = getattr(self, f"_{event}", None)
        if say is not None:
            say(**fields)

    def _starting(self, *, version: str, home: str, **_: Any) -> None:
        self._say(f"headrace {version}  starting in {short(home)}")
        self._blank()

    def _part_ready(
        self, *, part: str, address: str, seconds: float, adopted: bool = False, **_: Any
    ) -> None:
        mark = f"  {TICK} " if self._terminal else ""
        took = "found running" if adopted else f"{seconds:.2f} s"
        self._say(f"{mark}{part:<22} {address:<18} {took}")

    def _part_lost(self, *, part: str, **_: Any) -> None:
        self._say(f"{part} exited and is being restarted")

    def _ready(self, *, seconds: float, card: StatusFile, **_: Any) -> None:
        self._blank()
        self._say(f"Ready in {seconds:.1f} s")
        self._card(card)
        if self._terminal:
            self._blank()
            self._say("Ctrl-C stops everything.")

    def _already_running(self, *, pid: int, card: StatusFile, **_: Any) -> None:
        self._say(f"already running (pid {pid})")
        self._card(card)

    def _left_running(self, *, parts: list[str], **_: Any) -> None:
        self._say(f"found running and left so, with their instances: {', '.join(parts)}")

    def _stopping(self, *, what: str, **_: Any) -> None:
        self._say(f"stopping: {what}")

    def _stopped(self, **_: Any) -> None:
        self._say("stopped")

    def _card(self, card: StatusFile) -> None:
        self._blank()
        for line in card.lines():
            self._say(line)
        self._blank()
        self._say("Next      headrace demo    a model, traffic and a rollout in under a minute")
        self._say("          headrace online-deployment create -f deployment.yml --all-traffic")

    def _blank(self) -> None:
        if self._terminal:
            self._say("")

    @staticmethod
    def _say(line: str) -> None:
        click.echo(line)
