"""`headrace run scorer`: an instance of an existing deployment, started by hand.

Control hands out its launch record and credentials; it is served and counted by its heartbeats, and
never stopped by the platform. Its files lie apart from the instances that control keeps.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from headrace import errors
from headrace.settings import settings
from headrace_api.home import Home
from headrace_api.private_files import write_private
from headrace_bus.wire.launch import Launch
from headrace_telemetry.signals import asked_to_stop

if TYPE_CHECKING:
    from headrace_scorer.settings import Settings

PRIVATE_FOLDER: Final = 0o700
FAILED: Final = 3  # a scorer whose start can never succeed leaves with this


def run(
    home: Home, endpoint: str, deployment: str, nats_url: str | None, nats_creds: Path | None
) -> None:
    """Serve until SIGTERM or Ctrl-C, then drain. Raises NotFound, Conflict, Unreachable."""
    import uvloop

    from headrace_scorer.settings import Settings
    from headrace_telemetry.logs import configure

    launch, credentials = _asked(endpoint, deployment)
    launch = replace(launch, nats_url=nats_url or launch.nats_url)
    if nats_creds is not None:
        credentials = nats_creds.read_text()
    chosen = Settings(home=home, iid=launch.iid, parent=home.attached)
    _lay_down(chosen.folder, launch, credentials)
    click.echo(f"instance {launch.iid} of {endpoint}/{deployment}; Ctrl-C drains it", err=True)
    click.echo(f"  its logs are in {chosen.folder}", err=True)
    configure("scorer")
    code = uvloop.run(_until_signal(chosen))
    if code == FAILED:
        raise errors.OperationFailed(
            "the instance cannot become ready", hint=f"its logs are in {chosen.folder}"
        )
    shutil.rmtree(chosen.folder, ignore_errors=True)
    if code:
        raise errors.Unreachable(f"{launch.nats_url} stopped answering")


def _asked(endpoint: str, deployment: str) -> tuple[Launch, str]:
    from headrace.client import Client, local_target
    from headrace.online_deployment import path_of

    client = Client.of(settings())
    found = client.post(f"{path_of(endpoint, deployment)}/attach").json()
    launch = Launch.decode(json.dumps(found["launch"]).encode())
    # Control may know itself by an address that means nothing here.
    here = f"{client.http.origin}{local_target(launch.bytes_url)}" if launch.bytes_url else ""
    return replace(launch, bytes_url=here), str(found["credentials"])


def _lay_down(folder: Path, launch: Launch, credentials: str) -> None:
    folder.mkdir(mode=PRIVATE_FOLDER, parents=True)
    write_private(folder / "nats.creds", credentials)
    launch.write(folder / "launch.json")


async def _until_signal(chosen: Settings) -> int:
    from headrace_scorer.instance import run as serve

    return await serve(chosen, asked_to_stop())
