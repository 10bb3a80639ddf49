"""`headrace run <service>`: one process of the platform alone, against any NATS."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from headrace import errors
from headrace.platform.nats_option import NatsUrl
from headrace.platform.status_file import StatusFile
from headrace.settings import settings
from headrace_api.home import ENVIRONMENT_VARIABLE, Home

F = TypeVar("F", bound=Callable[..., Any])
PORT: Final = click.IntRange(0, 65535)


def _service(name: str, **port: int) -> Callable[[F], click.Command]:
    """A subcommand with the flags that every service takes."""

    def build(function: F) -> click.Command:
        made = click.command(name)(function)
        made.params += [
            click.Option(["--home", "home_flag"], metavar="DIR", help="Data directory."),
            click.Option(
                ["--nats", "nats_url"],
                type=NatsUrl(),
                metavar="URL",
                help="Default: the local server.",
            ),
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
    status_file = StatusFile.read(home)
    if status_file is None or not status_file.nats_url:
        raise errors.BadUsage(
            f"no platform runs in {home.root}, so --nats URL is required",
            hint="headrace up starts a platform with all services",
        )
    return status_file.nats_url


def _credentials(home: Home, role: str, given: Path | None) -> Path | None:
    """The file that was given, else the role's own where the embedded server made one."""
    own = home.credentials / f"{role}.creds"
    return given or (own if own.exists() else None)


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
            nats_credentials=_credentials(home, "control", nats_creds),
            port=port,
            console_port=console_port,
        )
    )


@_service("ingress", port=8443, http_port=8080)
def ingress(
    home_flag: str | None,
    nats_url: str | None,
    nats_creds: Path | None,
    port: int,
    http_port: int,
) -> None:
    """The HTTP edge: TLS on --port, loopback on --http-port."""
    from headrace_services.ingress import app
    from headrace_services.ingress.settings import IngressSettings

    home = _home(home_flag)
    app.main(
        IngressSettings.load(
            home=home,
            nats_url=_nats(home, nats_url),
            nats_credentials=_credentials(home, "ingress", nats_creds),
            port=port,
            http_port=http_port,
        )
    )


@_service("router")
def router(home_flag: str | None, nats_url: str | None, nats_creds: Path | None) -> None:
    """The NATS edge: scoring for callers that publish to `score.<endpoint>`."""
    from headrace_services.router import app
    from headrace_services.router.settings import RouterSettings

    home = _home(home_flag)
    app.main(
        RouterSettings(
            home=home,
            nats_url=_nats(home, nats_url),
            nats_credentials=_credentials(home, "router", nats_creds),
        )
    )


@click.command("scorer")
@click.option("--endpoint", "-e", required=True, metavar="NAME")
@click.option("--deployment", "-d", required=True, metavar="NAME")
@click.option("--home", "home_flag", metavar="DIR", help="Data directory.")
@click.option(
    "--nats", "nats_url", type=NatsUrl(), metavar="URL", help="Default: the one control uses."
)
@click.option(
    "--nats-creds",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Default: its own credentials, issued by control.",
)
def scorer(
    endpoint: str,
    deployment: str,
    home_flag: str | None,
    nats_url: str | None,
    nats_creds: Path | None,
) -> None:
    """One more instance of a deployment: served and counted, never stopped by the platform."""
    from headrace.platform import attached

    if home_flag:
        settings().home_flag = home_flag
    attached.run(_home(home_flag), endpoint, deployment, nats_url, nats_creds)


run = click.Group(
    "run",
    commands=[control, ingress, router, scorer],
    help="Run one service of the platform alone.",
)
