"""Data assets and components, pages and orders of lists, containers as a whole."""

from __future__ import annotations

import asyncio

import pytest

from support.control import ControlClient
from support.resources import upload_model

PATHS = "azureml://datastores/workspaceblobstore/paths"
SPEC = {"name": "c", "type": "command", "command": "echo", "environment": "azureml:e:1"}


async def test_data_comes_back_and_its_container_knows_type_and_versions(
    control: ControlClient,
) -> None:
    for version in ("1", "3"):
        properties = {"dataType": "uri_folder", "dataUri": f"{PATHS}/d/", "tags": {"a": "b"}}
        put = await control.put(f"/data/d/versions/{version}", {"properties": properties})
        assert put.status == 201, put.data

    container = (await control.get("/data/d")).json["properties"]
    other = {"dataType": "uri_folder", "dataUri": f"{PATHS}/other"}
    moved = await control.put("/data/d/versions/1", {"properties": other})

    assert container["dataType"] == "uri_folder"
    assert (container["latestVersion"], container["nextVersion"]) == ("3", "4")
    assert (moved.status, moved.json["error"]["message"]) == (400, "Asset paths cannot be updated.")


async def test_the_long_form_of_a_path_is_the_same_path(control: ControlClient) -> None:
    long = await upload_model(control, "same", b"1")
    short = f"{PATHS}/LocalUpload/same"
    body = {"properties": {"dataType": "uri_folder", "dataUri": long}}
    assert (await control.put("/data/d/versions/1", body)).status == 201

    again = {"properties": {"dataType": "uri_folder", "dataUri": short, "description": "x"}}

    assert (await control.put("/data/d/versions/1", again)).status == 200


@pytest.mark.parametrize(
    ("path", "properties"),
    [
        ("/data/d/versions/1", {}),
        ("/data/d/versions/1", {"dataUri": "./local"}),
        ("/data/d/versions/1", {"dataUri": "azureml://datastores/none/paths/x"}),
        ("/data/d/versions/1", {"dataUri": f"{PATHS}/../x"}),
        ("/data/d/versions/1", {"dataUri": f"{PATHS}/x", "dataType": "zip"}),
        ("/components/c/versions/1", {}),
        ("/components/c/versions/1", {"componentSpec": None}),
        ("/components/c/versions/1", {"componentSpec": {"type": "teapot"}}),
    ],
)
async def test_what_cannot_be_right_is_refused(
    control: ControlClient, path: str, properties: dict[str, object]
) -> None:
    await control.refuses(path, properties)


async def test_a_component_keeps_its_definition_and_anonymous_ones_are_not_listed(
    control: ControlClient,
) -> None:
    named = await control.put("/components/c/versions/1", {"properties": {"componentSpec": SPEC}})
    anonymous = {"componentSpec": SPEC, "isAnonymous": True}
    await control.put("/components/azureml_anonymous/versions/ab", {"properties": anonymous})

    changed = {"properties": {"componentSpec": {**SPEC, "command": "true"}}}
    other = await control.put("/components/c/versions/1", changed)
    listed = (await control.get("/components")).json["value"]

    assert named.json["properties"]["componentSpec"] == SPEC | {"version": "1"}
    assert (other.status, other.code) == (409, "Conflict")
    assert [one["name"] for one in listed] == ["c"]


async def test_a_component_says_its_name_and_version_also_where_nobody_gave_them(
    control: ControlClient,
) -> None:
    """The stock client reads both from the specification, and sends what it read back."""
    path = "/components/c/versions/7"
    given = {"type": "command", "command": "echo"}
    await control.put(path, {"properties": {"componentSpec": given | {"version": None}}})

    shown = (await control.get(path)).json["properties"]
    assert shown["componentSpec"] == {**given, "name": "c", "version": "7"}
    for spec in (shown["componentSpec"], given):
        again = await control.put(path, {"properties": {"componentSpec": spec, "isArchived": True}})
        assert again.status == 200, again.data


async def test_the_words_of_a_component_change_and_what_was_read_of_it_is_not_kept(
    control: ControlClient,
) -> None:
    """The stock client keeps them in the specification, and puts there what it read of others."""
    path = "/components/c/versions/1"
    await control.put(path, {"properties": {"componentSpec": SPEC | {"_source": "YAML"}}})
    words = {"description": "new", "display_name": "C", "tags": {"a": "b"}, "_source": "REMOTE"}
    read = {"id": "azureml:x", "creation_context": {"created_by": "admin"}}

    changed = await control.put(path, {"properties": {"componentSpec": SPEC | words | read}})

    assert changed.status == 200, changed.data
    shown = (await control.get(path)).json["properties"]["componentSpec"]
    assert shown == SPEC | words | {"version": "1"}


async def test_pages_lead_through_all_versions_whatever_comes_in_between(
    control: ControlClient,
) -> None:
    async def put(version: int) -> None:
        body = {"properties": {"dataUri": f"{PATHS}/x", "dataType": "uri_file"}}
        assert (await control.put(f"/data/d/versions/{version}", body)).status == 201

    for version in range(1, 8):
        await put(version)
    seen = []
    link = "/data/d/versions?$maxpagesize=3&listViewType=All"
    while link:
        page = (await control.get(link)).json
        seen += [int(one["id"].rpartition("/")[2]) for one in page["value"]]
        link = page["nextLink"]
        if len(seen) == 3:
            await put(8)

    top = (await control.get("/data/d/versions?$top=4&$maxpagesize=3")).json
    rest = (await control.get(top["nextLink"])).json
    oldest = (await control.get("/data/d/versions?$orderBy=createdtime%20asc&$top=1")).json
    skipped = (await control.get("/data/d/versions?$skip=7")).json

    assert seen == [7, 6, 5, 4, 3, 2, 1]
    assert (len(top["value"]), len(rest["value"]), rest["nextLink"]) == (3, 1, None)
    assert [one["id"].rpartition("/")[2] for one in oldest["value"]] == ["1"]
    assert [one["id"].rpartition("/")[2] for one in skipped["value"]] == ["1"]


@pytest.mark.parametrize("query", ["$top=x", "$skip=-1", "$orderBy=name", "$maxpagesize=0"])
async def test_a_wrong_list_option_is_named(control: ControlClient, query: str) -> None:
    reply = await control.get(
        f"/models?{query}" if "order" not in query else f"/data/d/versions?{query}"
    )

    assert (reply.status, reply.code) == (400, "BadArgument")
    assert reply.json["error"]["target"] == query.partition("=")[0]


async def test_a_container_goes_with_all_its_versions(control: ControlClient) -> None:
    for version in ("1", "2"):
        body = {"properties": {"componentSpec": SPEC}}
        await control.put(f"/components/c/versions/{version}", body)

    first = await control.send("DELETE", "/components/c")
    second = await control.send("DELETE", "/components/c")

    assert (first.status, second.status) == (200, 204)
    assert (await control.get("/components/c")).status == 404


async def test_of_two_who_create_a_version_at_once_nobody_is_lost(control: ControlClient) -> None:
    async def put(number: int) -> int:
        body = {"properties": {"componentSpec": SPEC, "description": str(number)}}
        return (await control.put("/components/c/versions/1", body)).status

    answers = await asyncio.gather(*(put(number) for number in range(8)))

    assert answers.count(201) == 1
    assert set(answers) <= {200, 201, 409}


@pytest.mark.parametrize("path", ["/data/d", ""], ids=["container", "workspace"])
async def test_of_two_first_changes_after_one_reading_the_second_is_refused(
    control: ControlClient, path: str
) -> None:
    """Before anybody has written words of it there is no record; its ETag says so."""
    if path:
        properties = {"dataType": "uri_folder", "dataUri": f"{PATHS}/d/"}
        await control.put(f"{path}/versions/1", {"properties": properties})
    method = "PUT" if path else "PATCH"
    read = (await control.get(path)).headers["ETag"]
    body = {"properties": {"description": "first"}}
    first = await control.send(method, path, body, headers={"If-Match": read})
    second = await control.send(
        method, path, {"properties": {"description": "second"}}, headers={"If-Match": read}
    )

    assert first.status in (200, 201), first.data
    assert (second.status, second.code) == (409, "Conflict")
    assert (await control.get(path)).json["properties"]["description"] == "first"
    now = (await control.get(path)).headers["ETag"]
    assert (await control.send(method, path, body, headers={"If-Match": now})).status == 200
