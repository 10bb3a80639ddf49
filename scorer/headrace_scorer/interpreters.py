"""Python interpreters of this machine: on PATH, of pyenv, of uv, fetched by us, and our own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.specifiers import SpecifierSet

PROBE_TIMEOUT_S: Final = 10.0
_NAME: Final = re.compile(r"python3(\.\d+)?")
_QUERY: Final = "import sys; print('%d.%d.%d' % sys.version_info[:3])"
MINIMUM: Final = (3, 8)  # what the worker's code runs on
OLDEST: Final = ".".join(map(str, MINIMUM))
_SERIES_TRIED: Final = 40  # minor versions and patches that a clause is held against

Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    path: Path
    version: Version

    @property
    def text(self) -> str:
        return ".".join(map(str, self.version))


def own() -> Interpreter:
    """The Python this process runs on, outside its virtual environment."""
    base = Path(getattr(sys, "_base_executable", sys.executable) or sys.executable)
    major, minor, micro = sys.version_info[:3]
    return Interpreter(path=base, version=(major, minor, micro))


def matches(version: Version, wanted: str) -> bool:
    """Whether a version satisfies PEP 440 clauses, with `|` between choices; empty takes any."""
    return not wanted or any(
        SpecifierSet(choice).contains(".".join(map(str, version))) for choice in wanted.split("|")
    )


def choose(wanted: str, found: Iterable[Interpreter]) -> Interpreter | None:
    """The newest that matches, of those the worker can run on.

    Of an exact version that is not here, another of its series stands in: their packages are the
    same (`series` tells the two apart).
    """
    usable = [one for one in found if one.version >= MINIMUM]
    for clauses in (wanted, series(wanted)):
        fit = [one for one in usable if matches(one.version, clauses)]
        if fit:
            return max(fit, key=lambda one: one.version)
    return None


def series(wanted: str) -> str:
    """The clauses with exact versions widened to their series: `==3.8.5` to `==3.8.*`."""
    return re.sub(r"==(\d+\.\d+)(\.\d+)*(\.\*)?(?![\w.])", r"==\1.*", wanted)


def is_too_old(wanted: str) -> bool:
    """Whether the clauses leave no version that a worker runs on."""
    return not any(
        matches((3, minor, patch), wanted)
        for minor in range(MINIMUM[1], _SERIES_TRIED)
        for patch in range(_SERIES_TRIED)
    )


def find(fetched: Path) -> list[Interpreter]:
    """All interpreters of this machine, those below `fetched` too; blocking, so use a thread."""
    seen: dict[Path, Interpreter] = {}
    for path in _candidates(fetched):
        real = path.resolve()
        if real not in seen and (one := _probe(path)) is not None:
            seen[real] = one
    return [own(), *seen.values()]


def _candidates(fetched: Path) -> Iterator[Path]:
    folders = [Path(part) for part in os.environ.get("PATH", "").split(os.pathsep) if part]
    for root in (*_roots(), fetched):
        folders += sorted(root.glob("*/bin")) if root.is_dir() else []
    for folder in folders:
        if folder.name == "shims" or not folder.is_dir():
            continue  # a shim of pyenv stands for versions that may not be active
        for path in sorted(folder.iterdir()):
            if _NAME.fullmatch(path.name) and os.access(path, os.X_OK):
                yield path


def _roots() -> Iterator[Path]:
    """Where pyenv and uv keep theirs: a folder a version, by variable or by default."""
    pyenv, of_uv = os.environ.get("PYENV_ROOT"), os.environ.get("UV_PYTHON_INSTALL_DIR")
    data = os.environ.get("XDG_DATA_HOME")
    yield (Path(pyenv) if pyenv else Path.home() / ".pyenv") / "versions"
    yield Path(of_uv) if of_uv else Path(data or Path.home() / ".local/share") / "uv/python"


def _probe(path: Path) -> Interpreter | None:
    try:
        done = subprocess.run(
            [path, "-I", "-c", _QUERY],
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
            check=False,
        )
        major, minor, micro = map(int, done.stdout.split("."))
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return Interpreter(path=path, version=(major, minor, micro))
