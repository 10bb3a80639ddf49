"""What the reconciler asks of the place where instances run; one adapter a file beside this one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from headrace_bus.wire.launch import Launch

# The drain of a scorer (30 s), 5 s for its workers and a margin; then the whole instance dies.
STOP_BOUND_S: Final = 40.0
LOG_LINES_DEFAULT: Final = 5000  # azure_behaviour.md 7.5, `get-logs -l`


class Container(StrEnum):
    """Whose output is asked for, by the names of `get-logs --container`."""

    INFERENCE_SERVER = "inference-server"
    STORAGE_INITIALIZER = "storage-initializer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """One instance as the provider sees it, whether it still lives or has ended."""

    iid: str
    endpoint: str
    deployment: str
    revision: int
    """Of the deployment's spec it was launched with."""
    owner: str
    """The kind of what it belongs to, as its launch record said."""
    pid: int
    """0 where the provider knows none."""
    alive: bool
    exit_code: int | None
    """None while it lives, and when it ended unseen by us; negative for a signal."""


class Compute(Protocol):
    """Starts, lists and stops instances. What runs is what `list` says."""

    async def start(self, launch: Launch, credentials: str) -> None:
        """Start an instance; `credentials` is the text of its NATS credentials.

        Raises InstanceExists when the id was used before, LaunchFailed when nothing was started.
        """

    async def stop(self, iid: str) -> None:
        """Ask it to drain and end; kill all of it after STOP_BOUND_S. Returns at once."""

    async def kill(self, iid: str) -> None:
        """End the instance and all it started, now."""

    async def list(self) -> tuple[Running, ...]:
        """All instances that were started and not forgotten, ended ones included.

        Raises ComputeError or OSError when the provider does not answer: an empty list would say
        that nothing runs.
        """

    async def forget(self, iid: str) -> None:
        """Drop an ended instance from the list; its logs stay. Unknown ids are no error."""

    async def erase(self, endpoint: str, deployment: str) -> None:
        """Remove the logs of all ended instances of a deployment that is gone."""

    async def logs(
        self,
        endpoint: str,
        deployment: str,
        *,
        container: str = Container.INFERENCE_SERVER,
        tail: int = LOG_LINES_DEFAULT,
        iid: str = "",
    ) -> str:
        """The last lines of one instance: of `iid`, else of the newest, live ones first.

        `container` is a Container's value. Empty when the deployment never had an instance. Raises
        InstanceUnknown for an `iid` that is not of this deployment, InvalidInput for a container
        there is not.
        """

    async def close(self) -> None:
        """Stop watching; what runs goes on."""
