"""What the API needs of the reconciler."""

from __future__ import annotations

from typing import Protocol

from headrace_scaler.compute.port import Container


class Convergence(Protocol):
    """The reconciler, as whoever changed a spec sees it."""

    def wake(self) -> None:
        """Look at the specs now instead of at the next round. Never blocks."""


class LogSource(Protocol):
    """Where instances' logs are read; every `headrace_scaler.compute.port.Compute` is one."""

    async def logs(self, endpoint: str, deployment: str, *, container: Container, tail: int) -> str:
        """The last lines of a deployment's newest instance; empty when there never was one."""
