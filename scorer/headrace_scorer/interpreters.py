"""Python interpreters of this machine: on PATH, of pyenv, of uv, and our own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROBE_TIMEOUT_S: Final = 10.0
_NAME: Final = re.compile(r"python3(\.\d+)?")
_QUERY: Final = "import sys; print('%d.%d.%d' % sys.version_info[:3])"
MINIMUM: Final = (3, 8)  # what the worker's code runs on

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
    """Whether a version satisfies conda's `3.9`, `=3.9`, `3.9.*`, `>=3.9,<3.12` or `3.10.4`."""
    clauses = [part.strip() for part in wanted.split(",") if part.strip()]
    return all(_clause(version, clause) for clause in clauses)


def _clause(version: Version, clause: str) -> bool:
    found = re.fullmatch(r"(==|=|>=|<=|>|<|!=|~=)?\s*(\d+(?:\.\d+)*)(\.\*)?", clause)
    if found is None:
        return False
    operator, numbers = found[1] or "=", tuple(map(int, found[2].split(".")))
    head = version[: len(numbers)]
    prefix = head == numbers
    return {
        "=": prefix,
        "==": prefix,
        "!=": not prefix,
        ">=": head >= numbers,
        "<=": head <= numbers,
        ">": head > numbers,
        "<": head < numbers,
        "~=": head >= numbers and version[: len(numbers) - 1] == numbers[:-1],
    }[operator]


def choose(wanted: str, found: Iterable[Interpreter]) -> Interpreter | None:
    """The newest that matches, of those the worker can run on."""
    fit = [one for one in found if one.version >= MINIMUM and matches(one.version, wanted)]
    return max(fit, key=lambda one: one.version, default=None)


def find() -> list[Interpreter]:
    """All interpreters of this machine; blocking, so call it in a thread."""
    seen: dict[Path, Interpreter] = {}
    for path in _candidates():
        real = path.resolve()
        if real not in seen and (one := _probe(path)) is not None:
            seen[real] = one
    return [own(), *seen.values()]


def _candidates() -> Iterator[Path]:
    home = Path.home()
    folders = [Path(part) for part in os.environ.get("PATH", "").split(os.pathsep) if part]
    for root in (home / ".pyenv/versions", home / ".local/share/uv/python"):
        folders += sorted(root.glob("*/bin")) if root.is_dir() else []
    for folder in folders:
        if folder.name == "shims" or not folder.is_dir():
            continue  # a shim of pyenv stands for versions that may not be active
        for path in sorted(folder.iterdir()):
            if _NAME.fullmatch(path.name) and os.access(path, os.X_OK):
                yield path


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
