"""One line for each thing the demo has shown to be true."""

from __future__ import annotations

import time

import click

from headrace_api.errors import HeadraceError

LABEL_COLUMNS = 60


class DemoFailed(HeadraceError):
    """Something the demo promises did not hold."""

    code = "DemoFailed"

    def __init__(self, promise: str, found: str) -> None:
        super().__init__(f"{promise}: {found}", hint="headrace demo --verbose shows each command")


class Ticks:
    """Prints ticks; the first promise that does not hold ends the demo."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.count = 0

    def tick(self, label: str, detail: str = "") -> None:
        self.count += 1
        mark = click.style("✓", fg="green")
        click.echo(f"  {mark} {label:<{LABEL_COLUMNS}} {detail}".rstrip(), err=True)

    def require(self, holds: bool, promise: str, found: object) -> None:
        """Raises DemoFailed, after a cross on the terminal, when the promise does not hold."""
        if not holds:
            click.echo(f"  {click.style('✗', fg='red')} {promise}", err=True)
            raise DemoFailed(promise, str(found))
