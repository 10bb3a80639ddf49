"""What a new supervisor takes over from one that was killed: services that keep their ports."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import replace

from headrace.platform import services
from headrace.platform.ports import PORT_FLAGS, Ports
from headrace_api.home import Home
from headrace_scaler.compute.processes import ProcessId


async def settle_ports(
    home: Home, asked: Ports, given: frozenset[str], claimed: ExitStack, hurry: asyncio.Event
) -> Ports:
    """Keep the ports of services that are adopted; check and choose the others.

    A service that cannot be adopted, or has another port than one `given` on the command line, is
    ended. Raises PortTaken.
    """
    wanted, held = asked, frozenset[str]()
    for service in PORT_FLAGS:
        running = services.found(service, home)
        kept = _kept_ports(service, running, asked, given)
        if kept is None:
            await services.end(running, hurry)
        else:
            wanted, held = replace(wanted, **kept), held | kept.keys()
    return wanted.settled(claimed, held)


def _kept_ports(
    service: str, running: list[ProcessId], asked: Ports, given: frozenset[str]
) -> dict[str, int] | None:
    """The ports of a running service; None when it cannot be adopted."""
    if len(running) != 1:
        return None
    texts = {name: services.flag_of(running[0], flag) for name, flag in PORT_FLAGS[service]}
    if not all(text.isdecimal() for text in texts.values()):
        return None
    found = {name: int(text) for name, text in texts.items()}
    wanted = {name: getattr(asked, name) for name in found}
    moved = [name for name in given & found.keys() if wanted[name] not in (0, found[name])]
    return None if moved else found
