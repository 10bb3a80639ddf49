"""`headrace up`, `down`, `status` and `run`."""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click

from headrace import errors
from headrace import output as output_of
from headrace._version import VERSION
from headrace.platform import running
from headrace.platform import status_file as status_files
from headrace.platform.lock import HomeLock
from headrace.platform.nats_option import NatsUrl
from headrace.platform.run import run
from headrace.platform.status_file import StatusFile
from headrace.settings import settings
from headrace_api.errors import HeadraceError
from headrace_api.home import Home

__all__ = ["down", "run", "status", "up"]
PORT: Final = click.IntRange(0, 65535)
_WAIT_DOWN_S: Final = 120.0  # three drains one after the other, and a margin


@click.command()
@click.option("--detach", "-d", is_flag=True, help="Run in the background; return when ready.")
@click.option("--control-port", type=PORT, default=9443, show_default=True)
@click.option("--ingress-port", type=PORT, default=8443, show_default=True)
@click.option("--http-port", type=PORT, default=8080, show_default=True)
@click.option("--console-port", type=PORT, default=9080, show_default=True)
@click.option("--nats-port", type=PORT, default=0, help="Default: the port of the first start.")
@click.option(
    "--nats",
    "nats_url",
    type=NatsUrl(),
    default="",
    metavar="URL",
    help="Use an external NATS server or cluster (comma-separated URLs).",
)
@click.option(
    "--nats-creds",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, readable=True, resolve_path=True),
    metavar="FILE",
    help="Credentials for --nats.",
)
@click.option("-o", "--output", type=click.Choice(["json", "text"]), help="json: one event a line.")
@click.option("--events-fd", type=int, hidden=True)
@click.pass_context
def up(context: click.Context, /, **given: Any) -> None:
    """Start the platform: NATS, control, ingress. Ctrl-C stops it."""
    from headrace.platform import events

    if given["nats_url"] and given["nats_port"]:
        raise click.UsageError(
            "--nats-port configures the embedded server and cannot be combined with --nats"
        )
    if given["nats_creds"] and not given["nats_url"]:
        raise click.UsageError("--nats-creds needs --nats")
    home = settings().home
    as_json = given["output"] == "json"
    say = _flat(events.ndjson_to_stdout() if as_json else events.Lines(), as_json)
    if given["events_fd"] is not None:
        _serve_for_parent(home, context, given["events_fd"])
        return
    if HomeLock(home).held():
        running.tell(home, say, _flags(context))
    elif given["detach"]:
        from headrace.platform import detach

        words = [word for pair in _flags(context).items() for word in pair]
        detach.start(home, words, say)
    else:
        _supervise(home, context, say)


def _serve_for_parent(home: Home, context: click.Context, descriptor: int) -> None:
    """The supervisor in the background: its events go to the parent while that listens."""
    from headrace.platform import events

    os.set_inheritable(descriptor, False)

    def write(line: str) -> None:
        try:
            os.write(descriptor, line.encode())
        except (BrokenPipeError, OSError):
            return  # the parent has gone, or has heard all it wanted

    tell = _flat(events.ndjson(write), True)

    def say(event: str, **fields: Any) -> None:
        tell(event, **fields)
        if event == "ready":
            os.close(descriptor)

    try:
        _supervise(home, context, say)
    except (HeadraceError, OSError) as caught:
        error = errors.of_system(caught) if isinstance(caught, OSError) else caught
        detail = getattr(error, "detail", "")
        say("failed", message=error.message, detail=detail, hint=error.hint)
        raise


def _supervise(home: Home, context: click.Context, say: Any) -> None:
    from headrace.platform.ports import Ports
    from headrace.platform.supervisor import Plan, Supervisor
    from headrace_telemetry.logs import configure

    given = context.params
    with HomeLock(home) as lock:
        if not lock.acquire():
            running.tell(home, say, _flags(context))
            return
        # In front of a person the events say it already; in the background all goes to up.log.
        configure("up", least="WARNING" if given["events_fd"] is None else "INFO")
        names = ("control", "ingress", "http", "console")
        ports = {name: given[f"{name}_port"] for name in names}
        plan = Plan(
            home=home,
            ports=Ports(**ports),
            given=frozenset(n for n in names if _is_given(context, f"{n}_port")),
            nats_port=given["nats_port"],
            nats_url=given["nats_url"],
            nats_credentials=given["nats_creds"],
            version=VERSION,
        )
        asyncio.run(Supervisor(plan, say).run())


@click.command()
@click.option("--purge", is_flag=True, help="Also delete the home and everything in it.")
def down(purge: bool) -> None:
    """Stop the platform. What it stored stays, unless --purge is given."""
    from headrace.platform import stop

    home = settings().home
    if not home.root.exists():
        click.echo(f"nothing was running; {status_files.short(str(home.root))} does not exist")
        return
    ran = _stop_supervisor(home)
    if left := stop.leftovers(home):
        ran = True
        click.echo(
            f"the supervisor is gone; stopping {len(left)} processes it left behind", err=True
        )
        asyncio.run(stop.stop_orphans(home, lambda what: click.echo(f"stopping: {what}", err=True)))
    if still := stop.sweep(home):
        pids = ", ".join(str(one.pid) for one in still)
        raise errors.CommandError(f"these processes could not be stopped: {pids}")
    if StatusFile.read(home) is not None:
        with contextlib.suppress(
            OSError
        ):  # a full disk; a status without its process counts as down
            status_files.down(home).write(home)
    if purge:
        stop.purge(home)
    fate = "is removed" if purge else "stays; headrace down --purge removes it"
    done = "stopped" if ran else "nothing was running"
    click.echo(f"{done}; {status_files.short(str(home.root))} {fate}")


def _stop_supervisor(home: Home) -> bool:
    """Ask a live supervisor to stop all and wait for it. Returns whether there was one."""
    import signal

    from headrace.platform import services
    from headrace_scaler.compute import processes
    from headrace_scaler.compute.processes import ProcessId

    status_file = StatusFile.read(home)
    found = [one for one in _supervisors(home) if one.send(signal.SIGTERM)]
    if status_file is not None and status_file.pid and status_file.supervised:
        one = ProcessId(status_file.pid, status_file.started)
        if one not in found and one.send(signal.SIGTERM):
            found.append(one)
    left = processes.wait_gone(found, _WAIT_DOWN_S)
    if left:
        asyncio.run(services.end(left, asyncio.Event(), 1.0))
    return bool(found)


def _supervisors(home: Home) -> list[Any]:
    from headrace_scaler.compute import processes

    return processes.find("-m", "headrace", "up", "--home", str(home.root))


@click.command()
@click.option(
    "-o", "--output", metavar="FORMAT", help="text, env, or as of every command: json, table, ..."
)
def status(output: str | None) -> None:
    """Show what runs, and where. Exits 8 when the platform is down."""
    home = settings().home
    status_file = asyncio.run(_observed(home))
    chosen = replace(settings(), output=output or settings().output)
    if chosen.output == "env":
        for name, value in status_file.environment().items():
            click.echo(f"export {name}='{value}'")
    elif chosen.query or chosen.output not in (None, "text"):
        output_of.show(status_file.public(), chosen)
    else:
        _show(status_file)
    if status_file.state == "down":
        click.get_current_context().exit(errors.UNREACHABLE)


async def _observed(home: Home) -> StatusFile:
    """The last status, held against what answers now."""
    from headrace.platform import probe, services, stop

    status_file = StatusFile.read(home)
    if status_file is None or not (status_file.supervised or stop.leftovers(home)):
        return status_files.down(home)
    ca = home.ca if home.ca.exists() else None
    control, ingress = await asyncio.gather(
        probe.ready(
            _port_of(status_file.control_url, services.found("control", home), "--port"), ca=ca
        ),
        probe.ready(_port_of(status_file.http_url, [], "")),
    )
    answers = {"supervisor": status_file.supervised, "control": control, "ingress": ingress}
    if stop.is_embedded(home, status_file.nats_url) and not stop.nats_servers(home):
        answers["nats-server"] = False
    unhealthy = tuple(name for name, well in answers.items() if not well)
    state = "degraded" if unhealthy and status_file.state != "starting" else status_file.state
    return replace(
        status_file,
        state=state,
        pid=status_file.pid if status_file.supervised else 0,
        unhealthy=unhealthy,
    )


def _port_of(url: str, running: list[Any], flag: str) -> int:
    """The service's own word, else the port of its URL, which may be a public one."""
    from urllib.parse import urlsplit

    from headrace.platform import services

    own = services.flag_of(running[0], flag) if running else ""
    return int(own) if own.isdecimal() else urlsplit(url).port or 0


def _show(status_file: StatusFile) -> None:
    if status_file.state == "down":
        click.echo("down")
        click.echo(f"  State     {status_files.short(status_file.home)}")
        click.echo("Next      headrace up")
        return
    click.echo(
        f"{status_file.state} (pid {status_file.pid})" if status_file.pid else status_file.state
    )
    for service in status_file.unhealthy:
        log_path = f"{status_files.short(status_file.home)}/run/{service}.log"
        click.echo(f"  {service} does not answer; its log is {log_path}")
    click.echo("")
    for line in status_file.lines():
        click.echo(line)


def _flags(context: click.Context) -> dict[str, str]:
    """The options that were given, for the supervisor in the background."""
    given = {
        f"--{name.replace('_', '-')}": str(value)
        for name, value in context.params.items()
        if name.endswith("_port") and _is_given(context, name)
    }
    for flag, name in (("--nats", "nats_url"), ("--nats-creds", "nats_creds")):
        if value := context.params[name]:
            given[flag] = str(value)
    return given


def _is_given(context: click.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _flat(say: Any, plain: bool) -> Any:
    """Events whose status is a plain object, for JSON."""
    if not plain:
        return say

    def flat(event: str, **fields: Any) -> None:
        status_file = fields.get("card")
        say(
            event,
            **fields
            | ({"card": status_file.public()} if isinstance(status_file, StatusFile) else {}),
        )

    return flat
