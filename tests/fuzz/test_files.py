"""What users send as files: YAML, folders and upload documents are taken or refused by name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from fuzz.documents import maker
from fuzz.mutate import INPUTS, corpus, hold
from headrace.catalog import compute_body, schedule_body
from headrace.edit import as_json
from headrace.errors import BadUsage
from headrace.ignore import is_ignored, parse_rules
from headrace_api.data import Data
from headrace_api.environment import Environment
from headrace_api.errors import HeadraceError, InvalidInput, NotFound
from headrace_api.legacy_endpoint import split
from headrace_api.model import Model
from headrace_api.online_deployment import OnlineDeployment
from headrace_api.online_endpoint import OnlineEndpoint
from headrace_api.references import parse_asset, parse_path
from headrace_api.resource import FileResource, read_resource
from headrace_api.yaml_file import parse_yaml
from headrace_bus.wire.launch import AssetFile
from headrace_scorer.assets import blob_path, materialise
from headrace_scorer.conda import read_conda, read_requirements
from headrace_scorer.errors import LaunchRefused
from headrace_services.control.blobs.xml import parse_block_list
from headrace_state.blob_location import locate

pytestmark = pytest.mark.timeout(120 + INPUTS // 100)

KINDS: Final[dict[str, tuple[type[FileResource], str]]] = {
    "endpoint": (OnlineEndpoint, "yaml"),
    "deployment": (OnlineDeployment, "yaml"),
    "model": (Model, "model"),
    "data": (Data, "data"),
    "environment": (Environment, "environment"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_resource_is_read_or_refused(kind: str, tmp_path: Path) -> None:
    """Read, shown as YAML again and put on the wire: what was taken must pass all three."""
    resource, name = KINDS[kind]
    base = corpus(name)

    def act(data: bytes) -> None:
        one: Any = resource.from_values(parse_yaml(data).values, base=tmp_path)
        one.to_yaml()
        if kind in ("model", "data", "environment"):
            one.to_arm()

    hold(base, act, InvalidInput, maker(base))


def test_the_single_file_of_2021_is_read_or_refused(tmp_path: Path) -> None:
    base = corpus("legacy")

    def act(data: bytes) -> None:
        parts = split(parse_yaml(data))
        read_resource(OnlineEndpoint, parts.endpoint, base=tmp_path)
        for one in parts.deployments:
            read_resource(OnlineDeployment, one, base=tmp_path)

    hold(base, act, InvalidInput, maker(base))


def test_a_catalog_file_is_made_a_body_or_refused() -> None:
    base = corpus("catalog")

    def act(data: bytes) -> None:
        values = as_json(parse_yaml(data).values)
        for body in (compute_body, schedule_body):
            json.dumps(body(values))

    hold(base, act, (InvalidInput, BadUsage), maker(base))


def test_a_conda_file_is_read_or_refused() -> None:
    base = corpus("conda")
    hold(base, lambda data: read_conda(data.decode("utf-8", "replace")), LaunchRefused, maker(base))


def _asset_or_path(text: str) -> None:
    for read in (lambda: parse_asset(text, kind="models"), lambda: parse_path(text)):
        try:
            read()
        except InvalidInput:
            continue
    locate(text)


def _ignored(text: str) -> None:
    rules = parse_rules(text)
    for path in ("a", "build/x.py", "data/a/b.csv", "\x80/ü"):
        is_ignored(path, rules, is_folder=False)


TEXTS: Final[dict[str, tuple[Callable[[str], object], tuple[type[Exception], ...]]]] = {
    "requirements": (read_requirements, (LaunchRefused,)),
    "references": (_asset_or_path, (InvalidInput, NotFound)),
    "ignore": (_ignored, ()),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_read_or_refused(name: str) -> None:
    act, refused = TEXTS[name]
    hold(corpus(name), lambda data: act(data[:4096].decode("utf-8", "replace")), refused)


def test_block_lists_are_read_or_refused() -> None:
    hold(corpus("blocklist"), parse_block_list, HeadraceError)


def test_a_tree_of_files_stays_in_its_folder_or_is_refused(tmp_path: Path) -> None:
    """What stands in for archives here: a model is a list of names, chosen by who uploaded it."""
    blobs, assets = tmp_path / "blobs", tmp_path / "assets"
    digest = hashlib.sha256(b"x").hexdigest()
    blob_path(blobs, digest).parent.mkdir(parents=True)
    blob_path(blobs, digest).write_bytes(b"x")
    outside = sorted(tmp_path.iterdir())

    def act(data: bytes) -> None:
        names = data[:8192].decode("utf-8", "surrogateescape").split("\n")[:20]
        folder = materialise(_files(names, digest), blobs, assets)
        found = [one for one in folder.rglob("*") if not one.is_dir()]
        assert all(one.read_bytes() == b"x" and not one.is_symlink() for one in found)
        assert sorted(tmp_path.iterdir()) in (outside, sorted([*outside, assets]))

    hold(corpus("assets"), act, (LaunchRefused, OSError))
    assert not [one for one in assets.iterdir() if one.name.startswith(".")], "nothing half done"


def _files(names: Sequence[str], digest: str) -> list[AssetFile]:
    return [AssetFile(path=name, digest=digest, size_bytes=1) for name in names if name]
