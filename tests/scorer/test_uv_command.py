"""Where uv keeps what it downloads, and what environments share of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace_bus.wire.launch import EnvironmentSpec
from headrace_scorer import environment

SIX = EnvironmentSpec(requirements="six==1.17.0", name="six")


async def build(home: Path, spec: EnvironmentSpec) -> Path:
    """The site-packages of a new environment."""
    planned, _ = await environment.plan(spec, home / "interpreters", print)
    python = await environment.ensure(planned, home / "environments", print)
    (packages,) = (python.parent.parent / "lib").glob("python*/site-packages")
    return packages


@pytest.mark.slow
async def test_what_is_written_in_one_environment_is_in_no_other(tmp_path: Path) -> None:
    first = await build(tmp_path / "one", SIX)
    with (first / "six.py").open("a") as package:
        package.write("SPOILT = True\n")
    second = await build(tmp_path / "two", SIX)
    assert "SPOILT" not in (second / "six.py").read_text()


@pytest.mark.slow
async def test_a_home_that_cannot_be_written_to_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a service account: its home is no folder, or nobody may write there."""
    nothing = tmp_path / "file"
    nothing.write_text("")
    monkeypatch.setenv("HOME", str(nothing / "home"))
    for name in ("XDG_CACHE_HOME", "UV_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "platform"

    assert (await build(home, SIX) / "six.py").exists()
    assert (home / "cache" / "uv").is_dir()
