"""A wall clock of a run's own: an interpreter that preloads libfaketime, for all of our processes.

Parts and scorers are started by the interpreter that runs them, so it reaches those that get none
of our environment too. Users' workers have an interpreter of their own, and the right time.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

FAKETIME: Final = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
MISSING: Final = "libfaketime is not installed (Debian package faketime)"
# Each process has shared memory of its own: what its parent made goes with the parent.
# `exec -a`: the interpreter finds its environment, and itself, by the name it was started with.
_SCRIPT: Final = """\
#!/bin/bash
unset FAKETIME_SHARED
export LD_PRELOAD={library} FAKETIME_TIMESTAMP_FILE={file} FAKETIME_CACHE_DURATION=1
export FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1
exec -a "$0" {python} "$@"
"""


class WrongClock:
    """Lies below `folder`; right until `shift`."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self._environment = folder / "python"
        self.python = self._environment / "bin" / "python"

    def make(self) -> None:
        """Make the interpreter: our environment with a script in the place of `python`."""
        ours = Path(sys.executable).parent
        self.python.parent.mkdir(parents=True)
        for tool in ours.iterdir():
            if not tool.name.startswith("python"):
                (self.python.parent / tool.name).symlink_to(tool)
        (self._environment / "lib").symlink_to(ours.parent / "lib")
        shutil.copy(ours.parent / "pyvenv.cfg", self._environment)
        script = _SCRIPT.format(library=FAKETIME, file=self._file, python=sys.executable)
        self.python.write_text(script)
        self.python.chmod(0o700)
        self.shift(0)

    def shift(self, seconds: int) -> None:
        """Heard within a second."""
        self._file.write_text(f"{seconds:+d}\n")

    @staticmethod
    def reaches(pid: int) -> bool:
        """Whether a process has the wrong time when we say so; true of one that has ended."""
        try:
            return FAKETIME.name in Path(f"/proc/{pid}/maps").read_text()
        except OSError:
            return True
