"""The platform's ports: checked before anything starts, so that a clash names its holder."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Final

import psutil

from headrace import errors

HOST: Final = "127.0.0.1"
LISTENERS: Final = {
    "control": "control",
    "ingress": "the ingress",
    "http": "the ingress' loopback port",
    "console": "the console",
}
PORT_FLAGS: Final = {
    "control": (("control", "--port"), ("console", "--console-port")),
    "ingress": (("ingress", "--port"), ("http", "--http-port")),
}
"""Of each service: the listeners, and the flag of `headrace run` that sets the port of each."""
HIGHEST: Final = 65535


class PortTaken(errors.CommandError):
    """Somebody else listens where we want to; nothing was started."""

    exit_code = errors.OPERATION_FAILED

    def __init__(self, name: str, port: int) -> None:
        flag = f"headrace up --{name}-port {min(port + 1, HIGHEST)}"
        super().__init__(
            f"port {port} is taken by {holder(port)}, so {LISTENERS[name]} cannot listen",
            hint=f"{flag}    or stop that process; port 0 takes a free one",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where the services listen; 0 asks for a free one."""

    control: int = 9443
    ingress: int = 8443
    http: int = 8080
    console: int = 9080

    def settled(self, claimed: ExitStack, held: frozenset[str] = frozenset()) -> Ports:
        """Check each port and choose the free ones; `held` ones are ours already.

        Nobody is given one of them, as a free one, before `claimed` is closed. Raises PortTaken,
        naming the holder and the flag.
        """
        chosen = {
            name: _claim(claimed, name, port)
            for name, port in asdict(self).items()
            if name not in held
        }
        return replace(self, **chosen)


def _claim(claimed: ExitStack, name: str, port: int) -> int:
    probe = claimed.enter_context(socket.socket())
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind((HOST, port))
    except OSError as error:
        raise PortTaken(name, port) from error
    return int(probe.getsockname()[1])


def holder(port: int) -> str:
    """Who listens on a port, as a phrase."""
    try:
        for one in psutil.net_connections("tcp"):
            at = one.laddr.port if one.laddr else 0
            if at == port and one.status == psutil.CONN_LISTEN and one.pid:
                return f"{psutil.Process(one.pid).name()} (pid {one.pid})"
    except (psutil.Error, OSError):
        pass
    return "another process"
