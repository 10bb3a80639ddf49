"""Model and code lie where the script expects them, whole, verified, and inside their folder."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from headrace_api.home import Home
from headrace_bus.errors import BlobNotFound, DigestMismatch
from headrace_bus.wire.launch import AssetFile
from headrace_scorer.assets import blob_path, materialise
from headrace_scorer.errors import LaunchRefused
from scorer.caller import store
from scorer.conftest import Serve
from support.platform import until

BUILD = """
import json, sys
from pathlib import Path
from headrace_bus.wire.launch import AssetFile
from headrace_scorer.assets import materialise
materialise([AssetFile(**json.loads(sys.argv[1]))], Path(sys.argv[2]), Path(sys.argv[3]))
"""


@pytest.fixture
def own_home(tmp_path: Path) -> Home:
    return Home(tmp_path)


async def test_many_at_once_get_one_whole_folder(own_home: Home) -> None:
    files = tuple(store(own_home, f"model/{i}.bin", bytes([i]) * 1000) for i in range(20))

    found = await asyncio.gather(
        *(asyncio.to_thread(materialise, files, own_home.blobs, own_home.assets) for _ in range(8))
    )

    assert len(set(found)) == 1
    assert (found[0] / "model" / "7.bin").read_bytes() == b"\x07" * 1000
    assert [one.name for one in own_home.assets.iterdir()] == [found[0].name]


@pytest.mark.parametrize("path", ["../a", "/etc/a", "a/../../b", "", "a\\b", "a\0b"])
def test_a_path_that_leaves_its_folder_is_refused(own_home: Home, path: str) -> None:
    file = replace(store(own_home, "a", b"1"), path=path)
    with pytest.raises(LaunchRefused, match="leaves its folder"):
        materialise([file], own_home.blobs, own_home.assets)


def test_bytes_that_are_not_their_digest_are_refused(own_home: Home) -> None:
    file = store(own_home, "a", b"1")
    blob_path(own_home.blobs, file.digest).write_bytes(b"2")
    with pytest.raises(DigestMismatch):
        materialise([file], own_home.blobs, own_home.assets)
    assert list(own_home.assets.iterdir()) == [], "nothing half done"


def test_a_missing_blob_is_named(own_home: Home) -> None:
    file = AssetFile(path="a", digest="0" * 64, size_bytes=1)
    with pytest.raises(BlobNotFound):
        materialise([file], own_home.blobs, own_home.assets)


@contextmanager
def _held_up(home: Home, file: AssetFile) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own in the middle of building: its blob is a pipe that says nothing."""
    blob = blob_path(home.blobs, file.digest)
    data = blob.read_bytes()
    blob.unlink()
    os.mkfifo(blob)
    words = (json.dumps(asdict(file)), str(home.blobs), str(home.assets))
    process = subprocess.Popen([sys.executable, "-c", BUILD, *words])
    try:
        until(lambda: _half_done(home), "a folder that is being built")
        blob.unlink()
        blob.write_bytes(data)
        yield process
    finally:
        process.kill()
        process.wait()


def _half_done(home: Home) -> list[Path]:
    return list(home.assets.glob(".building-*"))


def test_what_a_killed_builder_left_is_cleared_by_the_next(own_home: Home) -> None:
    file = store(own_home, "a", b"1")
    with _held_up(own_home, file) as process:
        process.kill()
        process.wait()
    assert _half_done(own_home), "nothing was left to be cleared"

    built = materialise([file], own_home.blobs, own_home.assets)

    assert list(own_home.assets.iterdir()) == [built]


def test_what_a_living_builder_is_at_stays(own_home: Home) -> None:
    with _held_up(own_home, store(own_home, "a", b"1")):
        before = _half_done(own_home)
        materialise([store(own_home, "b", b"2")], own_home.blobs, own_home.assets)

        assert _half_done(own_home) == before


async def test_the_model_folder_has_the_path_tail_of_the_original(serve: Serve, home: Home) -> None:
    script = (
        "import os\ndef init(): pass\n"
        "def run(raw):\n"
        "    m = os.environ['AZUREML_MODEL_DIR']\n"
        "    return [m, open(m + '/model/x.txt').read(), os.environ['MINE'], os.getcwd(),\n"
        "            os.environ['AML_APP_ROOT'], os.environ['AZUREML_ENTRY_SCRIPT']]\n"
    )
    _, caller = await serve(
        script,
        model_name="ridge",
        model_version="3",
        model_files=(store(home, "model/x.txt", b"weights"),),
        environment_variables={"MINE": "yes", "AZUREML_MODEL_DIR": "not yours to set"},
    )

    model, weights, mine, cwd, root, entry = json.loads((await caller.ask({})).body)

    assert model.endswith("/azureml-models/ridge/3")
    assert (weights, mine, entry) == ("weights", "yes", "score.py")
    assert cwd == root
