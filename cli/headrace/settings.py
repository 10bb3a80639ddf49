"""The options every command has, and where they are kept."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import Final

import click

from headrace_api.home import Home

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
    _warned: set[str] = field(default_factory=set, repr=False)

    @property
    def home(self) -> Home:
        return Home.find(self.home_flag)

    @property
    def format(self) -> str:
        """--output > HEADRACE_OUTPUT > a table on a terminal, JSON elsewhere."""
        if chosen := self.output or os.environ.get(OUTPUT_VARIABLE):
            return chosen
        return "table" if sys.stdout.isatty() else "json"

    def warn(self, line: str) -> None:
        """Tell it on stderr, never with --only-show-errors.

        Once: of a file and of the resource that was made of it, whose keys may differ.
        """
        text = line.partition(" ")[2]
        if text not in self._warned and not self.only_show_errors:
            click.echo(f"warning: {line}", err=True)
        self._warned.add(text)


def settings() -> Settings:
    """The settings of the running command; commands of other packages read them here too."""
    found: Settings = click.get_current_context().meta.setdefault(_META_KEY, Settings())
    return found


def settings_in(context: click.Context) -> Settings:
    """The settings of a context that is still being parsed."""
    found: Settings = context.meta.setdefault(_META_KEY, Settings())
    return found
