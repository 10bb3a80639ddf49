"""One call of a verb: its options, the global ones, and lazily the client."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import click

from headrace_api.home import Home

if TYPE_CHECKING:
    from headrace.client import Client

OUTPUT_VARIABLE: Final = "HEADRACE_OUTPUT"
_META_KEY: Final = "headrace.settings"


@dataclass(slots=True, kw_only=True)
class Settings:
    """The options every command has."""

    home_flag: str | None = None
    output: str | None = None
    query: str | None = None
    only_show_errors: bool = False
    verbose: bool = False
    debug: bool = False

    @property
    def home(self) -> Home:
        return Home.find(self.home_flag)

    @property
    def format(self) -> str:
        """--output > HEADRACE_OUTPUT > a table on a terminal, JSON elsewhere."""
        if chosen := self.output or os.environ.get(OUTPUT_VARIABLE):
            return chosen
        return "table" if sys.stdout.isatty() else "json"


def settings() -> Settings:
    """The settings of the running command; commands of other packages read them here too."""
    found: Settings = click.get_current_context().meta.setdefault(_META_KEY, Settings())
    return found


def settings_in(context: click.Context) -> Settings:
    """The settings of a context that is still being parsed."""
    found: Settings = context.meta.setdefault(_META_KEY, Settings())
    return found


@dataclass(slots=True, kw_only=True)
class Call:
    """What a handler gets."""

    options: Mapping[str, Any]
    """By name without dashes, `endpoint_name`; missing ones are None, False or ()."""
    settings: Settings
    path: str = ""
    """The verb, as `online-endpoint create`."""
    _client: Client | None = field(default=None, repr=False)

    @property
    def client(self) -> Client:
        if self._client is None:
            from headrace.client import Client

            self._client = Client.of(self.settings)
        return self._client

    def text(self, name: str) -> str:
        """The option's text, empty when it was not given."""
        return str(self.options.get(name) or "")

    def flag(self, name: str) -> bool:
        return bool(self.options.get(name))

    def many(self, name: str) -> tuple[str, ...]:
        """A repeated option's values."""
        return tuple(self.options.get(name) or ())

    def say(self, line: str) -> None:
        """Tell progress: on stderr, never with --only-show-errors."""
        if not self.settings.only_show_errors:
            click.echo(line, err=True)

    def warn(self, line: str) -> None:
        self.say(f"warning: {line}")
