"""The pure parts of the wire: paths, bodies, signatures, listings, merges, routes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_api.errors import HeadraceError, InvalidInput, NotFound
from headrace_api.home import Home
from headrace_services.control.arm.merge_patch import merged
from headrace_services.control.arm.request import Answer, Call, parse_object, path_segments
from headrace_services.control.arm.route_table import (
    ArmRouter,
    MethodNotAllowed,
    NoSuchPath,
    ResourceTypeNotSupported,
)
from headrace_services.control.blobs.sas import SasRefused, SasSigner
from headrace_services.control.blobs.xml import parse_block_list
from headrace_services.control.identity.auth import ensure_admin_token
from headrace_state.blob_location import BlobLocation, locate
from support.control import ControlClient, Reply

NOW = datetime(2030, 1, 1, tzinfo=UTC)


async def _handler(call: Call) -> Answer:
    return Answer(body=dict(call.path))


def _router() -> ArmRouter:
    router = ArmRouter()
    router.add("GET", "/subscriptions/{sub}/onlineEndpoints/{endpoint}", _handler)
    router.add("POST", "/subscriptions/{sub}/onlineEndpoints/{endpoint}/listKeys", _handler)
    return router


def test_literal_segments_match_in_any_case_and_names_keep_theirs() -> None:
    match = _router().find("GET", ["SUBSCRIPTIONS", "S", "onlineendpoints", "My-Ep"])

    assert match.path == {"sub": "S", "endpoint": "My-Ep"}


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("DELETE", "subscriptions/s/onlineEndpoints/e", MethodNotAllowed),
        ("GET", "subscriptions/s/batchEndpoints/e", ResourceTypeNotSupported),
        ("GET", "subscriptions/s/onlineEndpoints/", ResourceTypeNotSupported),
        ("GET", "nothing/here", NoSuchPath),
    ],
)
def test_what_no_route_takes_is_refused_by_kind(
    method: str, path: str, expected: type[HeadraceError]
) -> None:
    with pytest.raises(expected):
        _router().find(method, path.split("/"))


@pytest.mark.parametrize(
    "path",
    ["/a/../b", "/a/%2e%2e/b", "/a/x%2fy", "/a/x%5Cy", "/a/%00", "/a/%0a", "/a/%ff", "*", "/a/."],
)
def test_paths_that_could_mean_another_one_are_refused(path: str) -> None:
    with pytest.raises(InvalidInput):
        path_segments(path)


def test_a_path_is_decoded_once_and_keeps_empty_segments() -> None:
    assert path_segments("/a%20b/%252e/ü//x?y=/z") == ["a b", "%2e", "ü", "", "x"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"1",
        b"{",
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'{"a": "\\ud800"}',
        b"\xff",
        b"[" * 100_000,
        b'{"a":' * 70 + b"1" + b"}" * 70,
    ],
)
def test_bodies_that_are_no_object_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse_object(body)


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none()))
def test_every_json_object_is_read_as_it_is(body: dict[str, object]) -> None:
    assert parse_object(json.dumps(body).encode()) == body


def _query(signed: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(signed).items()}


def _signed(signer: SasSigner, container: str = "one", permissions: str = "rl") -> dict[str, str]:
    hour = timedelta(hours=1)
    return _query(signer.sign(container, now=NOW, lifetime=hour, permissions=permissions))


def test_a_signature_opens_its_container_for_its_permissions_until_it_expires() -> None:
    signer = SasSigner(b"k" * 32)
    query = _signed(signer)

    signer.check(query, container="one", needs="r", now=NOW + timedelta(minutes=59))

    for container, needs, now in (
        ("two", "r", NOW),
        ("one", "w", NOW),
        ("one", "r", NOW + timedelta(hours=1)),
    ):
        with pytest.raises(SasRefused):
            signer.check(query, container=container, needs=needs, now=now)


@pytest.mark.parametrize("name", ["sv", "sp", "se", "sig"])
def test_no_term_of_a_signature_can_be_changed_or_left_out(name: str) -> None:
    signer = SasSigner(b"k" * 32)
    query = _signed(signer)

    for changed in (query | {name: "2999-01-01T00:00:00Z"}, query | {name: "é"}):
        with pytest.raises(SasRefused):
            signer.check(changed, container="one", needs="r", now=NOW)
    with pytest.raises(SasRefused):
        signer.check(
            {key: value for key, value in query.items() if key != name},
            container="one",
            needs="r",
            now=NOW,
        )


def test_only_genuine_sas_names_appear() -> None:
    assert set(_signed(SasSigner(b"k"))) == {"sv", "sr", "sp", "se", "sig"}


def test_the_admin_token_is_made_once_and_private(tmp_path: Path) -> None:
    home = Home(tmp_path)
    token = ensure_admin_token(home)

    assert ensure_admin_token(home) == token
    assert home.token.stat().st_mode & 0o777 == 0o600


async def test_only_the_token_itself_behind_its_scheme_is_the_admin(control: ControlClient) -> None:
    token = control.token
    for header in (f"Bearer {token}", f"bearer {token}"):
        assert (await _asked_with(control, header)).status == 200
    for header in ("", "Bearer", "Bearer ", f"Bearer {token}x", f"Basic {token}", token):
        refused = await _asked_with(control, header)
        assert (refused.status, refused.code) == (401, "Unauthorized"), header


async def _asked_with(control: ControlClient, header: str) -> Reply:
    return await control.send("GET", "/onlineEndpoints", headers={"Authorization": header})


def test_a_block_list_keeps_its_order() -> None:
    body = (
        b"<?xml version='1.0'?>\n<BlockList><Latest>YQ==</Latest><Latest>YZ==</Latest></BlockList>"
    )

    assert parse_block_list(body) == ("YQ==", "YZ==")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<BlockList><Latest>../x</Latest></BlockList>",
        b"<!DOCTYPE a [<!ENTITY b 'c'>]><BlockList><Latest>YQ==</Latest></BlockList>",
        b"<Other/>",
    ],
)
def test_what_is_no_block_list_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse_block_list(body)


def test_a_patch_merges_objects_removes_by_null_and_replaces_the_rest() -> None:
    old = {"a": {"b": 1, "c": 2}, "d": [1], "e": 5}

    assert merged(old, {"a": {"b": None, "x": {"y": 1}}, "d": [2]}) == {
        "a": {"c": 2, "x": {"y": 1}},
        "d": [2],
        "e": 5,
    }
    assert old["a"] == {"b": 1, "c": 2}


@pytest.mark.parametrize(
    "uri",
    [
        "azureml://datastores/workspaceblobstore/paths/LocalUpload/h/m/",
        (
            "azureml://subscriptions/s/resourcegroups/g/workspaces/w"
            "/datastores/workspaceblobstore/paths/LocalUpload/h/m"
        ),
        "https://localhost:1/blob/default/azureml-blobstore/LocalUpload/h/m",
        "https://h/blob/w/_.blob.core.windows.net/azureml-blobstore/LocalUpload/h/m",
    ],
)
def test_every_form_of_a_place_means_the_same(uri: str) -> None:
    assert locate(uri) == BlobLocation(container="azureml-blobstore", path="LocalUpload/h/m")


@pytest.mark.parametrize(
    "uri",
    [
        "azureml://datastores/workspaceblobstore/paths/../x",
        "azureml://datastores/other/paths/x",
        "https://h/blob/w/c/%2e%2e/x",
        "https://h/other/w/c/x",
        "file:///etc/passwd",
        "/etc/passwd",
        "",
    ],
)
def test_places_that_are_not_ours_are_refused(uri: str) -> None:
    with pytest.raises((InvalidInput, NotFound)):
        locate(uri)
