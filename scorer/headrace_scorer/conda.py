"""Conda files read as what uv can install: a Python version and PyPI requirements. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from packaging.version import Version

from headrace_api.errors import InvalidInput
from headrace_api.yaml_file import parse_yaml
from headrace_scorer import conda_names, pip_lines
from headrace_scorer.errors import LaunchRefused

MAX_TEXT_BYTES: Final = 256 * 1024
KEYS: Final = frozenset(("name", "channels", "dependencies", "prefix", "variables", "platforms"))
_SPEC: Final = re.compile(
    r"(?:[\w.-]+(?:/[\w.-]+)?::)?(?P<name>[A-Za-z0-9_][\w.-]*)"
    r"(?:\[version=(?P<quote>[\"']?)(?P<bracketed>[^\"'\]]*)(?P=quote)\]|(?P<extras>\[[\w.,-]+\]))?"
    r"\s*(?P<version>[^\s=<>!~][^\n]*|[=<>!~].*)?"
)
_CLAUSE: Final = re.compile(
    r"(?P<operator>==|=|>=|<=|>|<|!=|~=)?(?:\*|(?P<number>[0-9][\w.!+]*?)(?P<star>\.?\*)?)"
    r"(?P<build>=[\w.*]+)?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What a virtual environment must hold."""

    python: str = ""
    """Conda's version text; empty when any will do."""
    packages: tuple[str, ...] = ()
    """Lines of a requirements file."""
    dropped: tuple[str, ...] = ()
    """Conda packages without a counterpart on PyPI, left out."""


def read_conda(text: str) -> Requirements:
    """Raises LaunchRefused, naming the key or entry that cannot be read."""
    if len(text.encode()) > MAX_TEXT_BYTES:
        raise LaunchRefused(f"conda file is larger than {MAX_TEXT_BYTES} bytes", target="conda")
    document = _document(text)
    python, packages, dropped = "", [], []
    for entry in document.get("dependencies") or []:
        if isinstance(entry, dict):
            packages += _pip(entry)
            continue
        name, line = read_spec(str(entry))
        if name == "python":
            python = line
        elif line:
            packages.append(line)
        else:
            dropped.append(name)
    return Requirements(python=python, packages=tuple(packages), dropped=tuple(dropped))


def read_requirements(text: str) -> Requirements:
    """A requirements file. Raises LaunchRefused where it would read other files of this machine."""
    joined = re.sub(r"\\\n", " ", text)
    return Requirements(packages=tuple(pip_lines.read(joined.splitlines())))


def read_spec(entry: str) -> tuple[str, str]:
    """Return the conda name, and its requirement: '' without one, for `python` the clauses.

    Takes the forms of conda's match specs: `name=1.2`, `name >=1,<2`, `name 1.2 build`,
    `channel::name`, `name[version='>=1']`. Raises LaunchRefused.
    """
    entry = entry.strip()
    found = _SPEC.fullmatch(entry)
    if found is None:
        raise LaunchRefused(f"conda dependency {entry!r} cannot be read", target="dependencies")
    name = found["name"].lower()
    version = versions(found["bracketed"] or found["version"] or "", entry)
    if name == "python":
        return name, version
    target = conda_names.on_pypi(name, found["name"])
    if not target:
        return name, ""
    return name, target + (found["extras"] or "") + _for_pip(version)


def versions(text: str, entry: str) -> str:
    """Conda's version text as PEP 440 clauses: `,` is "and", `|` "or"; empty takes any.

    `=1.2` and a bare `1.2` stand for the series, `==1.2` for itself; what follows a version is a
    build and left out. Raises LaunchRefused.
    """
    text = re.sub(r"\s*([,|])\s*", r"\1", text.strip())
    text = re.sub(r"([=<>!~])\s+", r"\1", text)
    word, _, build = text.partition(" ")
    if not word:
        return ""
    choices = [
        ",".join(filter(None, (_clause(one, entry, whole=bool(build)) for one in part.split(","))))
        for part in word.split("|")
    ]
    return "" if "" in choices else "|".join(choices)


def _clause(text: str, entry: str, *, whole: bool) -> str:
    """One clause; `whole`: a build comes behind it, so that no series is meant."""
    found = _CLAUSE.fullmatch(text)
    if found is None:
        raise LaunchRefused(
            f"conda dependency {entry!r}: {text!r} is not a version",
            hint="use name=1.2, name==1.2.3 or name>=1.2,<2",
            target="dependencies",
        )
    operator, number, star = found["operator"] or "=", found["number"] or "", bool(found["star"])
    if not number:
        return ""
    if operator in ("=", "==") and not star:
        series = operator == "=" and not whole and not found["build"]
        return f"=={number}.*" if series else f"=={number}"
    if operator in ("=", "==", "!="):
        return f"{operator[-1] if operator == '=' else operator[0]}={number}.*"
    return f"{operator}{number}"


def _for_pip(clauses: str) -> str:
    """PEP 508 knows no "or": the highest choice stands for all."""
    return max(clauses.split("|"), key=_first_number)


def _first_number(clauses: str) -> Version:
    found = re.search(r"\d[\w.]*", clauses)
    return Version(found[0].rstrip(".")) if found else Version("0")


def _document(text: str) -> dict[str, Any]:
    try:
        document = parse_yaml(text).values
    except InvalidInput as error:
        raise LaunchRefused(f"conda file: {error.message}", target="conda") from error
    if unknown := sorted(key for key in document if key not in KEYS):
        raise LaunchRefused(
            f"conda file has the unknown key {unknown[0]!r}: allowed are {', '.join(sorted(KEYS))}",
            target=unknown[0],
        )
    if not isinstance(document.get("dependencies") or [], list):
        raise LaunchRefused("'dependencies' of the conda file is not a list", target="dependencies")
    return document


def _pip(entry: dict[Any, Any]) -> list[str]:
    if set(entry) != {"pip"} or not isinstance(entry["pip"] or [], list):
        raise LaunchRefused(
            f"conda dependency {entry!r}: only a list under 'pip' may be nested", target="pip"
        )
    return pip_lines.read(str(line) for line in entry["pip"] or [])
