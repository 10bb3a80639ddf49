"""`headrace run <service>`: one process of the platform alone, against any NATS."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from headrace import errors
from headrace.call import settings
from headrace.platform.card import Card
from headrace_api.home import ENVIRONMENT_VARIABLE, Home

F = TypeVar("F", bound=Callable[..., Any])
PORT: Final = click.IntRange(0, 65535)


def _service(name: str, **port: int) -> Callable[[F], click.Command]:
    """A subcommand with the flags of design 11."""

    def build(function: F) -> click.Command:
        made = click.command(name)(function)
        made.params += [
            click.Option(["--home", "home_flag"], metavar="DIR", help="Data directory."),
            click.Option(["--nats", "nats_url"], metavar="URL", help="Default: the local server."),
            click.Option(
                ["--nats-creds"],
                type=click.Path(path_type=Path, exists=True, dir_okay=False),
                metavar="FILE",
                help="Default: the role's own file below the home.",
            ),
            *(
                click.Option([f"--{flag.replace('_', '-')}"], type=PORT, default=number)
                for flag, number in port.items()
            ),
        ]
        return made

    return build


def _home(flag: str | None) -> Home:
    """The home, also in the environment: what this process starts must find the same one."""
    home = Home.find(flag or settings().home_flag)
    os.environ[ENVIRONMENT_VARIABLE] = str(home.root)
    return home


def _nats(home: Home, url: str | None) -> str:
    if url:
        return url
    card = Card.read(home)
    if card is None or not card.nats_url:
        raise errors.BadUsage(
            f"no platform of {home.root} is known, so --nats URL is needed",
            hint="headrace up starts one with all parts",
        )
    return card.nats_url


@_service("control", port=9443, console_port=0)
def control(
    home_flag: str | None,
    nats_url: str | None,
    nats_creds: Path | None,
    port: int,
    console_port: int,
) -> None:
    """The control API, the blob store and the reconciler."""
    from headrace_services.control import app
    from headrace_services.control.settings import Settings

    home = _home(home_flag)
    app.main(
        Settings.from_environment(
            home=home,
            nats_url=_nats(home, nats_url),
            nats_credentials=nats_creds,
            port=port,
        )
    )
