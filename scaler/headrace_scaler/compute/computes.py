"""The computes of one host by name, as the reconciler is given them."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

import structlog

from headrace_api.home import Home
from headrace_api.private_files import read_or_create
from headrace_bus.wire.launch import Launch
from headrace_scaler.compute.port import LOG_LINES_DEFAULT, Compute, Container, Running
from headrace_scaler.compute.process import ProcessCompute
from headrace_scaler.errors import ComputeError, InstanceUnknown

log = structlog.get_logger(__name__)

PROCESS: Final = "process"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What the computes of this host say that they run."""

    running: dict[str, Running] = field(default_factory=dict)
    compute_of: dict[str, str] = field(default_factory=dict)
    """Where each of them runs."""
    silent: frozenset[str] = frozenset()
    """Computes that did not answer: nothing is known of their instances."""


class Computes:
    """Adapters by the names that records carry. `host` is where they start instances."""

    def __init__(
        self, computes: Mapping[str, Compute], *, host: str, default: str = PROCESS
    ) -> None:
        self._computes = dict(computes)
        self._on_exit: list[Callable[[], None]] = []
        self.host: Final = host
        self.default: Final = default

    @classmethod
    def of_home(cls, home: Home) -> Self:
        """All that this host offers for a home. Raises OSError."""
        made = cls({}, host=host_id(home))
        made._computes[PROCESS] = ProcessCompute(home, on_exit=made._exited)
        return made

    def on_exit(self, tell: Callable[[], None]) -> None:
        """Call it on the loop as soon as a listed instance has ended, where that can be known."""
        self._on_exit.append(tell)

    def _exited(self, _: str) -> None:
        for tell in self._on_exit:
            tell()

    async def list(self) -> Listing:
        """All that runs, of the computes that answer; the others are told once a round."""
        running: dict[str, Running] = {}
        compute_of: dict[str, str] = {}
        silent = set()
        for name, compute in self._computes.items():
            try:
                listed = await compute.list()
            except (ComputeError, OSError) as error:
                log.warning("a compute does not answer", compute=name, reason=str(error))
                silent.add(name)
                continue
            running |= {one.iid: one for one in listed}
            compute_of |= {one.iid: name for one in listed}
        return Listing(running=running, compute_of=compute_of, silent=frozenset(silent))

    def has(self, name: str) -> bool:
        """Whether this host has it; an empty name is the default's."""
        return (name or self.default) in self._computes

    async def start(self, name: str, launch: Launch, credentials: str) -> None:
        """See Compute.start. Raises ComputeError for a compute that is not here."""
        await self._of(name).start(launch, credentials)

    async def stop(self, name: str, iid: str) -> None:
        await self._of(name).stop(iid)

    async def kill(self, name: str, iid: str) -> None:
        await self._of(name).kill(iid)

    async def forget(self, name: str, iid: str) -> None:
        await self._of(name).forget(iid)

    async def erase(self, endpoint: str, deployment: str) -> None:
        for compute in self._computes.values():
            await compute.erase(endpoint, deployment)

    async def logs(
        self,
        endpoint: str,
        deployment: str,
        *,
        container: str = Container.INFERENCE_SERVER,
        tail: int = LOG_LINES_DEFAULT,
        iid: str = "",
    ) -> str:
        """See Compute.logs; of the first compute that has any. Raises InstanceUnknown."""
        unknown: InstanceUnknown | None = None
        for compute in self._computes.values():
            try:
                text = await compute.logs(
                    endpoint, deployment, container=container, tail=tail, iid=iid
                )
            except InstanceUnknown as error:
                unknown = unknown or error
                continue
            if text or iid:
                return text
        if unknown is not None:
            raise unknown
        return ""

    async def close(self) -> None:
        """Stop watching; what runs goes on."""
        for compute in self._computes.values():
            await compute.close()

    def _of(self, name: str) -> Compute:
        compute = self._computes.get(name or self.default)
        if compute is None:
            known = ", ".join(self._computes)
            raise ComputeError(f"this host has no compute {name!r}; it has {known}")
        return compute


def host_id(home: Home) -> str:
    """Names this home on this host in records; made on first use. Raises OSError."""
    path = home.root / "host"
    made = f"{socket.gethostname().split('.')[0].lower()}-{secrets.token_hex(4)}"
    return read_or_create(path, made + "\n").decode().strip()
