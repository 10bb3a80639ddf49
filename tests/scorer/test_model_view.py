"""What a script does to its model stays with its instance."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from headrace_api.home import Home
from headrace_scorer import model_view
from headrace_scorer.assets import materialise
from headrace_scorer.model_view import view
from scorer.caller import store
from scorer.conftest import Serve

VANDAL = """
import os, pathlib
def init():
    folder = pathlib.Path(os.environ["AZUREML_MODEL_DIR"])
    first = folder / "model" / "a.txt"
    os.chmod(first, 0o600)
    first.write_text("changed")
    (folder / "model" / "b.txt").unlink()
    (folder / "model" / "new.txt").write_text("mine")
def run(raw):
    folder = pathlib.Path(os.environ["AZUREML_MODEL_DIR"]) / "model"
    return {one.name: one.read_text() for one in sorted(folder.iterdir())}
"""
READER = VANDAL.replace("first = ", "return\n    first = ")


async def test_what_a_script_writes_below_its_model_no_other_instance_sees(
    serve: Serve, home: Home
) -> None:
    files = (store(home, "model/a.txt", b"A"), store(home, "model/b.txt", b"B"))
    _, vandal = await serve(VANDAL, model_files=files)
    _, other = await serve(READER, model_files=files)

    assert json.loads((await vandal.ask({})).body) == {"a.txt": "changed", "new.txt": "mine"}
    assert json.loads((await other.ask({})).body) == {"a.txt": "A", "b.txt": "B"}


@pytest.fixture(params=["copied", "linked"])
def model(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that is small enough to be copied, or not."""
    if request.param == "linked":
        monkeypatch.setattr(model_view, "COPIED_BYTES", 0)
    home = Home(tmp_path / "home")
    files = [store(home, "m/deep/a.bin", b"1" * 1000), store(home, "m/b.bin", b"2")]
    return materialise(files, home.blobs, home.assets)


def test_a_view_holds_the_same_files_whatever_stood_there(model: Path, tmp_path: Path) -> None:
    place = tmp_path / "instance" / "model" / "1"
    place.parent.mkdir(parents=True)
    place.symlink_to(model)  # as an earlier release left it
    for _ in range(2):
        view(model, place)
        assert not place.is_symlink()
        assert (place / "m" / "deep" / "a.bin").read_bytes() == b"1" * 1000
        assert (place / "m" / "b.bin").read_bytes() == b"2"
        (place / "m" / "more").write_text("left by an instance before")
    assert sorted(one.name for one in (model / "m").iterdir()) == ["b.bin", "deep"]


def test_a_file_replaced_or_removed_in_a_view_stays_in_the_model(
    model: Path, tmp_path: Path
) -> None:
    place = tmp_path / "view"
    view(model, place)
    (place / "m" / "b.bin").unlink()
    replaced = place / "m" / "deep" / "new"
    replaced.write_bytes(b"x")
    replaced.replace(place / "m" / "deep" / "a.bin")

    assert (model / "m" / "b.bin").read_bytes() == b"2"
    assert (model / "m" / "deep" / "a.bin").read_bytes() == b"1" * 1000


@pytest.mark.parametrize("harm", ["write", "same size", "remove"])
def test_a_model_that_was_changed_is_made_anew_for_the_next(tmp_path: Path, harm: str) -> None:
    home = Home(tmp_path)
    files = [store(home, "m/a.bin", b"12345"), store(home, "m/b.bin", b"2")]
    kept = materialise(files, home.blobs, home.assets)
    file = kept / "m" / "a.bin"
    if harm == "remove":
        file.unlink()
    else:
        os.chmod(file, 0o600)
        file.write_bytes(b"54321" if harm == "same size" else b"none")

    again = materialise(files, home.blobs, home.assets)

    assert again == kept
    assert file.read_bytes() == b"12345"
    assert [one.name for one in home.assets.iterdir()] == [kept.name]


def test_a_model_that_nobody_changed_is_used_as_it_is(tmp_path: Path) -> None:
    home = Home(tmp_path)
    files = [store(home, "m/a.bin", b"12345")]
    inode = (materialise(files, home.blobs, home.assets) / "m" / "a.bin").stat().st_ino
    assert (materialise(files, home.blobs, home.assets) / "m" / "a.bin").stat().st_ino == inode
