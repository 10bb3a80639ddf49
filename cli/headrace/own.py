"""Commands of our own that belong to no group."""

from __future__ import annotations

import click

from headrace import errors
from headrace.call import Call
from headrace.settings import settings


@click.command()
def ca() -> None:
    """Print the path of the local CA's certificate."""
    path = settings().home.ca
    if not path.is_file():
        raise errors.Unreachable(f"no CA at {path}", hint="headrace up creates it on first start")
    click.echo(path)


@click.command()
def token() -> None:
    """Print the admin's bearer token, and nothing else."""
    from headrace.credential import read_token

    click.echo(read_token(settings().home))


@click.command()
@click.argument("endpoint")
def key(endpoint: str) -> None:
    """Print the primary key (or a token) of ENDPOINT, and nothing else."""
    from headrace.online_endpoint import credential

    click.echo(credential(Call(options={}, settings=settings()), endpoint))


@click.command("nats-creds")
def nats_creds() -> None:
    """Print the path of the credentials for scoring over NATS (docs/nats-native.md)."""
    path = settings().home.credentials / "caller.creds"
    if not path.is_file():
        raise errors.Unreachable(
            f"no NATS credentials at {path}",
            hint="headrace up creates them for its own server only",
        )
    click.echo(path)


@click.command("help")
@click.argument("topic", required=False, type=click.Choice(["exit-codes"]))
def help_topic(topic: str | None) -> None:
    """Explain a TOPIC: exit-codes."""
    if topic is None:
        click.echo("headrace --help, headrace <group> --help, headrace help exit-codes")
        return
    for code, meaning in errors.EXIT_CODES.items():
        click.echo(f"{code:>4}  {meaning}")
