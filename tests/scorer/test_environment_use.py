"""Environments go when nobody has used them for a while, and never while somebody does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headrace_bus.wire.launch import EnvironmentSpec
from headrace_scorer import environment
from headrace_scorer.environment_use import UNUSED_S, collect

HOLD = """
import asyncio, sys
from pathlib import Path
from headrace_scorer import environment_use
asyncio.run(environment_use.hold(Path(sys.argv[1]), sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One that is whole and was used just now, one that is old, one whose builder was killed."""
    for name in ("new", "old", "half"):
        (tmp_path / name / "bin").mkdir(parents=True)
        (tmp_path / name / "bin" / "python").write_bytes(b"12345")
        if name != "half":
            (tmp_path / f"{name}.complete").touch()
    aged(tmp_path, "old")
    return tmp_path


def aged(root: Path, name: str) -> None:
    long_ago = time.time() - UNUSED_S - 60
    os.utime(root / f"{name}.complete", (long_ago, long_ago))


def there(root: Path) -> set[str]:
    return {one.name for one in root.iterdir() if one.is_dir()}


def test_the_unused_and_the_half_built_go(root: Path) -> None:
    looked = collect(root, now_s=time.time(), dry=True)
    assert there(root) == {"new", "old", "half"}

    count, size = collect(root, now_s=time.time())

    assert (count, size) == looked
    assert count == 2
    assert size >= 10
    assert there(root) == {"new"}
    assert not (root / "old.complete").exists()
    assert collect(root, now_s=time.time()) == (0, 0)


def test_what_a_process_uses_stays_however_old_until_it_ends(root: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(root), "old"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == b"held\n"
        aged(root, "old")
        collect(root, now_s=time.time())
        assert there(root) == {"new", "old"}
        user.kill()
        user.wait()
    collect(root, now_s=time.time())
    assert there(root) == {"new"}


def test_what_a_worker_of_an_earlier_release_runs_from_stays(root: Path) -> None:
    python = root / "old" / "bin" / "python"
    with subprocess.Popen([str(python), "-c", "input()"], executable=sys.executable,
                          stdin=subprocess.PIPE) as worker:  # fmt: skip
        collect(root, now_s=time.time())
        assert there(root) == {"new", "old"}
        worker.kill()
        worker.wait()
    collect(root, now_s=time.time())
    assert there(root) == {"new"}


async def test_a_start_makes_an_environment_young_and_one_that_went_is_built_again(
    tmp_path: Path,
) -> None:
    planned, _ = await environment.plan(EnvironmentSpec(), tmp_path / "interpreters", print)
    root = tmp_path / "environments"
    lines: list[str] = []
    python = await environment.ensure(planned, root, lines.append)
    aged(root, planned.digest)
    await environment.ensure(planned, root, lines.append)
    assert time.time() - (root / f"{planned.digest}.complete").stat().st_mtime < UNUSED_S / 2
    assert sum("creating" in line for line in lines) == 1
    assert collect(root, now_s=time.time() + 2 * UNUSED_S)[0] == 0, "this process uses it"

    (root / f"{planned.digest}.complete").unlink()
    await environment.ensure(planned, root, lines.append)
    assert sum("creating" in line for line in lines) == 2
    assert python.exists()


def test_a_home_without_environments_has_nothing_to_collect(tmp_path: Path) -> None:
    assert collect(tmp_path / "none", now_s=time.time()) == (0, 0)
