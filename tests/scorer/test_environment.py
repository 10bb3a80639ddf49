"""Environments: read from conda files, built once per digest, failing in the resolver's words."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_bus.wire.heartbeat import InstanceState
from headrace_bus.wire.launch import EnvironmentSpec
from headrace_scorer import conda, environment, interpreters
from headrace_scorer.errors import LaunchRefused
from headrace_scorer.interpreters import Interpreter
from scorer.conftest import Serve

SPECS = [
    ("numpy=1.26", "numpy==1.26.*"),
    ("numpy==1.26.4", "numpy==1.26.4"),
    ("numpy>=1.2,<2", "numpy>=1.2,<2"),
    ("numpy >=1.2, <2", "numpy>=1.2,<2"),
    ("numpy=1.26.4=py311_0", "numpy==1.26.4"),
    ("numpy 1.26.*", "numpy==1.26.*"),
    ("conda-forge::scikit-learn", "scikit-learn"),
    ("pytorch=2.1", "torch==2.1.*"),
    ("numpy", "numpy"),
    ("numpy[version='>=1.2']", "numpy>=1.2"),
    ('numpy[version=">=1.2,<2"]', "numpy>=1.2,<2"),
    ("numpy=1.24|1.26", "numpy==1.26.*"),
    ("numpy !=1.25.*", "numpy!=1.25.*"),
    ("numpy 1.26.4 py311_0", "numpy==1.26.4"),
    ("numpy=1.26.*=py311*", "numpy==1.26.*"),
    ("numpy ~=1.26", "numpy~=1.26"),
    ("numpy *", "numpy"),
    ("inference-schema[numpy-support]=1.8", "inference-schema[numpy-support]==1.8.*"),
]
PYTHONS = [
    ("python=3.10", "==3.10.*"),
    ("python >=3.8, <3.11", ">=3.8,<3.11"),
    ("python >= 3.10", ">=3.10"),
    ("python=3.9|3.11", "==3.9.*|==3.11.*"),
    ("python==3.9.7", "==3.9.7"),
    ("python", ""),
    ("python *", ""),
]


@pytest.mark.parametrize(("entry", "clauses"), PYTHONS)
def test_conda_python_specs_become_clauses(entry: str, clauses: str) -> None:
    assert conda.read_spec(entry) == ("python", clauses)


@pytest.mark.parametrize(("entry", "line"), SPECS)
def test_conda_specs_become_requirements(entry: str, line: str) -> None:
    assert conda.read_spec(entry)[1] == line


def test_a_conda_file_gives_python_packages_and_what_is_left_out() -> None:
    text = "name: m\nchannels: [conda-forge]\ndependencies:\n- python=3.10\n- pip\n- numpy=1.26\n"
    found = conda.read_conda(text + "- pip:\n  - inference-schema[numpy-support]\n")
    assert found.python == "==3.10.*"
    assert found.packages == ("numpy==1.26.*", "inference-schema[numpy-support]")
    assert found.dropped == ("pip",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dependences: []", "unknown key 'dependences'"),
        ("- a\n- b", "must hold keys and values"),
        ("a: [", "not valid YAML"),
        ("dependencies: numpy", "not a list"),
        ("dependencies: [{conda: [a]}]", "only a list under 'pip'"),
        ("dependencies: [{pip: ['-r other.txt']}]", "refers to a file"),
        ("dependencies: ['a b c d ; rm']", "'b' is not a version"),
        ("dependencies: [" + "a," * 200_000 + "]", "larger than"),
    ],
)
def test_a_conda_file_that_cannot_be_read_says_where(text: str, words: str) -> None:
    with pytest.raises(LaunchRefused, match=re.escape(words)):
        conda.read_conda(text)


@given(st.text(max_size=60))
def test_any_entry_is_read_or_refused(entry: str) -> None:
    try:
        _, line = conda.read_spec(entry)
    except LaunchRefused:
        return
    assert "\n" not in line


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [("==3.9.*", (3, 9, 18)), (">=3.9,<3.12", (3, 11, 7)), ("==3.9.5", (3, 9, 18)),
     ("==3.9.5.*", (3, 9, 18)), ("==3.14.*", None), ("", (3, 13, 0)), ("!=3.13.*", (3, 11, 7)),
     ("==3.7.*", None), ("==3.9.*|==3.11.*", (3, 11, 7)), (">=3.8,<3.11", (3, 9, 18)),
     (">=3.14|==3.9.18", (3, 9, 18))],
)  # fmt: skip
def test_the_newest_interpreter_that_matches_is_taken(
    wanted: str, chosen: tuple[int, int, int] | None
) -> None:
    versions = [(3, 7, 16), (3, 9, 18), (3, 13, 0), (3, 11, 7)]
    found = [Interpreter(path=Path("/p"), version=(a, b, c)) for a, b, c in versions]
    best = interpreters.choose(wanted, found)
    assert (best.version if best else None) == chosen


def test_an_image_beside_a_conda_file_is_a_warning() -> None:
    spec = EnvironmentSpec(image="somewhere/image:1", conda="dependencies: []")
    assert "is ignored" in environment.read(spec)[1]


async def test_five_starters_build_once_and_all_get_it(tmp_path: Path) -> None:
    planned, _ = await environment.plan(EnvironmentSpec(), tmp_path / "interpreters", print)
    lines: list[str] = []

    pythons = await asyncio.gather(
        *(environment.ensure(planned, tmp_path / "environments", lines.append) for _ in range(5))
    )

    assert len(set(pythons)) == 1
    assert pythons[0].exists()
    assert sum("creating" in line for line in lines) == 1
    assert sum("in the meantime" in line for line in lines) == 4


async def test_rubble_of_a_build_that_was_killed_is_cleared(tmp_path: Path) -> None:
    planned, _ = await environment.plan(EnvironmentSpec(), tmp_path / "interpreters", print)
    rubble = tmp_path / planned.digest / "bin"
    rubble.mkdir(parents=True)
    (rubble / "python").write_text("half written")

    python = await environment.ensure(planned, tmp_path, lambda line: None)

    assert python.is_symlink()


@pytest.mark.slow
async def test_a_package_that_does_not_exist_fails_in_the_resolvers_words(serve: Serve) -> None:
    """No index is asked: the requirement contradicts itself."""
    spec = EnvironmentSpec(requirements="six==1.0,==2.0", name="mine")
    instance, _ = await serve("def init(): pass\ndef run(a): pass", wait=False, environment=spec)

    beat = await instance.until(InstanceState.FAILED)

    assert beat.error_code == "ImageBuildFailure"
    assert "environment mine" in beat.error
    assert "six" in beat.error
    assert await instance.exit_code() == 3
    assert "six" in instance.log("storage-initializer.log")


async def test_a_python_of_the_conda_file_runs_the_script(serve: Serve) -> None:
    version = "3.9"
    found = await asyncio.to_thread(interpreters.find, Path("none"))
    if interpreters.choose(f"=={version}.*", found) is None:
        pytest.skip(f"no Python {version} on this machine")
    spec = EnvironmentSpec(conda=f"dependencies: [python={version}]")
    script = "import sys\ndef init(): pass\ndef run(a): return sys.version\n"

    _, caller = await serve(script, environment=spec)

    assert (await caller.ask({})).body.startswith(b'"3.9.')
