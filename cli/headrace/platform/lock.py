"""One supervisor a home: a lock that its death releases."""

from __future__ import annotations

import fcntl
import os
from types import TracebackType
from typing import Self

from headrace_api.home import Home


class HomeLock:
    """Held by the supervisor from before its first look until after its last process."""

    def __init__(self, home: Home) -> None:
        self._path = home.run / "up.lock"
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Whether it is ours now; never waits."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def held(self) -> bool:
        """Whether a supervisor has it."""
        if not self._path.exists():
            return False
        if not self.acquire():
            return True
        self.release()
        return False

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
