"""One call of a verb: its options, the global ones, and lazily the client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from headrace.settings import Settings

if TYPE_CHECKING:
    from headrace.client import Client


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
        self.settings.warn(line)
