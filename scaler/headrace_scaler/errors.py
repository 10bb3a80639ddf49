"""Errors of the scaler.

HeadraceError
+-- ComputeError
    +-- InstanceExists      an instance id is started once only (also Conflict)
    +-- InstanceUnknown     no instance bears this id (also NotFound)
    +-- LaunchFailed        the operating system refused to start the process
    +-- UnreadableInstance  its folder does not say what it is
"""

from __future__ import annotations

from typing import ClassVar

from headrace_api.errors import Conflict, HeadraceError, NotFound


class ComputeError(HeadraceError):
    """Something went wrong where instances run."""


class InstanceExists(ComputeError, Conflict):
    """An instance id is started once only."""

    code: ClassVar[str] = "Conflict"
    status: ClassVar[int] = 409

    def __init__(self, iid: str) -> None:
        super().__init__(f"instance {iid!r} was started before", target=iid)
        self.iid = iid


class InstanceUnknown(ComputeError, NotFound):
    """No instance bears this id."""

    code: ClassVar[str] = "ResourceNotFound"
    status: ClassVar[int] = 404

    def __init__(self, iid: str) -> None:
        super().__init__(f"there is no instance {iid!r}", target=iid)
        self.iid = iid


class LaunchFailed(ComputeError):
    """The operating system refused to start the process."""

    def __init__(self, iid: str, reason: str) -> None:
        super().__init__(f"instance {iid!r} could not be started: {reason}", target=iid)
        self.iid = iid


class UnreadableInstance(ComputeError):
    """The folder of an instance does not say what it is."""

    def __init__(self, iid: str, reason: str) -> None:
        super().__init__(f"the record of instance {iid!r} cannot be read: {reason}", target=iid)
        self.iid = iid
