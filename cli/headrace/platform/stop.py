"""Ending what a home runs, with or without a supervisor, and nothing that is another's."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

from headrace import errors
from headrace.platform import services
from headrace_api.home import Home
from headrace_api.machine import kill_marked
from headrace_scaler.compute import processes
from headrace_scaler.compute.folder import InstanceFolder
from headrace_scaler.compute.processes import ProcessId
from headrace_scaler.errors import UnreadableInstance

KILL_BOUND_S: Final = 5.0
_SCORER: Final = ("-m", "headrace_scorer", "--home")
_MARKS: Final = ("run/status.json", "nats/keys")


async def stop_instances(
    home: Home, hurry: asyncio.Event, told: Callable[[str], object] = lambda _: None
) -> int:
    """Let every scorer of the home drain, then end what is left. Returns how many were killed."""
    targets = processes.find(*_SCORER, str(home.root))
    if targets:
        told(f"draining {len(targets)} instances")
    killed = await services.end(targets, hurry)
    for session in _sessions(home, targets):
        processes.kill_session(session, home.root)
    kill_marked(home.instances)
    return killed


async def stop_orphans(home: Home, told: Callable[[str], object]) -> None:
    """End what a killed supervisor left behind, in the order a live one would."""
    never = asyncio.Event()
    for service in ("ingress", "router", "control"):
        if targets := services.found(service, home):
            told(f"{service} drains" if service != "control" else service)
            await services.end(targets, never)
    await stop_instances(home, never, told)
    if servers := nats_servers(home):
        told("nats-server")
        await services.end(servers, never)


def nats_servers(home: Home) -> list[ProcessId]:
    """The embedded server, by its configuration's path."""
    return processes.find("-c", str(home.nats / "nats.conf"))


def is_embedded(home: Home, url: str) -> bool:
    """Whether the address is that of the home's own server, and not of somebody else's."""
    try:
        return url == f"nats://127.0.0.1:{(home.nats / 'port').read_text().strip()}"
    except OSError:
        return False


def leftovers(home: Home) -> list[ProcessId]:
    """Every process of this home that should be gone: scorers, their sessions, services, NATS."""
    found = set(nats_servers(home)) | set(processes.find(*_SCORER, str(home.root)))
    for service in services.SERVICES:
        found |= set(services.found(service, home))
    return sorted(found, key=lambda one: one.pid)


def sweep(home: Home) -> list[ProcessId]:
    """Kill what did not end when asked; returns what lives on even so."""
    left = leftovers(home)
    for one in left:
        one.send(signal.SIGKILL)
    for session in _sessions(home, left):
        processes.kill_session(session, home.root)
    kill_marked(home.instances)
    return processes.wait_gone(left, KILL_BOUND_S)


def _sessions(home: Home, more: list[ProcessId]) -> list[ProcessId]:
    """Leaders, living or dead, of the sessions that instances were started in."""
    found = []
    for folder in InstanceFolder.all(home.instances):
        # Of one that cannot be read the scorer, found by its arguments, is among `more`.
        with contextlib.suppress(UnreadableInstance):
            record = folder.read()
            found += [record.process] if record is not None and record.pid else []
    return [*found, *more]


def purge(home: Home) -> None:
    """Remove the home. Raises CommandError when the folder does not look like one of ours."""
    root = home.root
    if not root.exists():
        return
    if not any((root / mark).exists() for mark in _MARKS) or root in (Path.home(), root.parent):
        raise errors.CommandError(
            f"{root} does not look like a Headrace home; nothing was removed",
            hint=f"a home holds {' or '.join(_MARKS)}; remove it by hand if you are sure",
        )
    shutil.rmtree(root)
