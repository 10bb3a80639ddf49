"""The Python an environment asks for: found here, fetched by uv, or refused with what to run."""

from __future__ import annotations

import asyncio
import hashlib
import json
import platform
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from headrace_bus.wire.launch import EnvironmentSpec
from headrace_scorer import environment, interpreter_fetch, interpreters
from headrace_scorer.errors import EnvironmentFailed
from headrace_scorer.interpreters import Interpreter


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A Python that uv can fetch from a file, as from the project that publishes them."""

    version: tuple[int, int, int]
    downloads: Path

    @property
    def series(self) -> str:
        return f"{self.version[0]}.{self.version[1]}"


def pack(one: Interpreter, folder: Path) -> Published:
    """Pack an installed Python the way uv's builds are packed, and list it the way uv reads."""
    root = one.path.resolve().parent.parent
    archive = folder / "python.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        tar.add(root, "python", filter=_without_tests)
    machine = {"family": platform.machine(), "variant": None}
    major, minor, patch = one.version
    entry = {
        "name": "cpython", "arch": machine, "os": "linux", "libc": "gnu",
        "major": major, "minor": minor, "patch": patch, "prerelease": "", "variant": None,
        "build": "20240101", "url": archive.as_uri(),
        "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
    }  # fmt: skip
    listed = folder / "downloads.json"
    listed.write_text(json.dumps({f"cpython-{one.text}-linux-{platform.machine()}-gnu": entry}))
    return Published(version=one.version, downloads=listed)


def _without_tests(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    left_out = ("/test/", "/site-packages/", "__pycache__", "/idlelib/", "/ensurepip/")
    return None if any(part in member.name for part in left_out) else member


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    folder = tmp_path_factory.mktemp("published")
    own = interpreters.own().version[:2]
    others = [
        one
        for one in interpreters.find(folder)
        if interpreters.MINIMUM <= one.version[:2] != own and ".pyenv" in str(one.path)
    ]
    if not others:
        pytest.skip("no second Python on this machine that could be packed")
    return pack(max(others, key=lambda one: one.version), folder)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose only Python is the one the tests run on; the folder to fetch into."""
    for name in ("PYENV_ROOT", "UV_PYTHON_INSTALL_DIR", "XDG_DATA_HOME", "UV_PYTHON_DOWNLOADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "interpreters"


async def test_uv_fetches_what_is_missing_once(
    bare: Path, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS_JSON_URL", str(published.downloads))
    spec = EnvironmentSpec(conda=f"dependencies: [python={published.series}]", name="sample")
    lines: list[str] = []

    first, _ = await environment.plan(spec, bare, lines.append)
    again, _ = await environment.plan(spec, bare, lines.append)

    assert first.interpreter.version == published.version
    assert first.interpreter.path.is_relative_to(bare)
    assert again.interpreter == first.interpreter
    assert sum("uv fetches it" in line for line in lines) == 1


async def test_an_older_patch_of_the_series_is_fetched_with_a_warning(
    bare: Path, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS_JSON_URL", str(published.downloads))
    spec = EnvironmentSpec(conda=f"dependencies: [python={published.series}.39]")

    planned, warning = await environment.plan(spec, bare, lambda _: None)

    assert planned.interpreter.version == published.version
    assert "stands in" in warning


async def test_each_choice_is_tried(
    bare: Path, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS_JSON_URL", str(published.downloads))
    spec = EnvironmentSpec(conda=f"dependencies: ['python={published.series}|3.29']")

    planned, _ = await environment.plan(spec, bare, lambda _: None)

    assert planned.interpreter.version == published.version


@pytest.mark.parametrize("switch", ["never", "manual"])
async def test_a_switch_forbids_fetching(
    bare: Path, monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", switch)
    spec = EnvironmentSpec(conda="dependencies: [python=3.29]", name="sample")

    with pytest.raises(EnvironmentFailed, match=f"UV_PYTHON_DOWNLOADS={switch} forbids") as told:
        await environment.plan(spec, bare, lambda _: None)

    assert "uv python install 3.29" in told.value.hint
    assert not bare.exists()


async def test_a_fetch_that_fails_says_why_and_what_to_run(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    spec = EnvironmentSpec(conda="dependencies: [python=3.29]", name="sample")

    with pytest.raises(EnvironmentFailed, match=r"needs Python ==3\.29") as told:
        await environment.plan(spec, bare, lambda _: None)

    assert interpreters.own().text in told.value.message
    assert "uv could not fetch it" in told.value.message
    assert "3.29" in told.value.message.partition("fetch it")[2]
    assert "uv python install 3.29" in told.value.hint


async def test_a_python_older_than_the_worker_is_not_fetched(bare: Path) -> None:
    spec = EnvironmentSpec(conda="dependencies: [python=3.5]", name="sample")

    with pytest.raises(
        EnvironmentFailed, match=r"needs Python ==3\.5\.\*, and workers run on 3\.8"
    ):
        await environment.plan(spec, bare, lambda _: None)

    assert not bare.exists()


@pytest.mark.parametrize("variable", ["PYENV_ROOT", "UV_PYTHON_INSTALL_DIR"])
async def test_interpreters_of_pyenv_and_uv_are_found_where_their_variables_say(
    bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    below = {"PYENV_ROOT": "versions"}.get(variable, "")
    folder = tmp_path / "elsewhere" / below / "mine" / "bin"
    folder.mkdir(parents=True)
    stand_in = folder / "python3.12"
    stand_in.write_text("#!/bin/sh\necho 3.12.1\n")
    stand_in.chmod(0o755)
    monkeypatch.setenv(variable, str(tmp_path / "elsewhere"))

    found = await asyncio.to_thread(interpreters.find, bare)

    assert [one.path for one in found if one.version == (3, 12, 1)] == [stand_in]


@pytest.mark.parametrize(
    ("wanted", "asked"),
    [
        ("==3.12.*", ["3.12"]),
        ("==3.8.5", ["3.8"]),
        (">=3.8,<3.11", [">=3.8,<3.11"]),
        ("==3.9.*|==3.11.*", ["3.9", "3.11"]),
    ],
)
def test_uv_is_asked_for_the_series(wanted: str, asked: list[str]) -> None:
    assert interpreter_fetch.requests(wanted) == asked
