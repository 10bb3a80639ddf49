"""The verbs of data, components, datastores, computes, schedules and workspace, on a control."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.command import headrace, told
from support.control import ControlClient, running_control
from support.nats_server import NatsServer
from support.resources import endpoint_body
from support.tcp_proxy import TcpProxy

BOUND_S = 30.0


@pytest.fixture
async def control(tmp_path: Path, nats_server: NatsServer) -> AsyncIterator[ControlClient]:
    async with running_control(tmp_path / "home", nats_server.url) as client:
        yield client


async def test_a_folder_goes_up_as_data_and_comes_down_as_it_was(
    control: ControlClient, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.csv").write_bytes(b"1,2\n")
    (folder / "deep" / "empty").write_bytes(b"")
    (folder / "deep" / "b c.bin").write_bytes(os.urandom(9 * 1024 * 1024))

    made = await headrace(control, "data", "create", "-n", "d", "--path", str(folder))
    target = tmp_path / "out"
    words = ("data", "download", "-n", "d", "-v", made["version"], "-p", str(target))
    done = await headrace(control, *words)
    again = await headrace(control, "data", "create", "-n", "d", "--path", str(folder))

    assert done["files"] == 3
    for file in ("a.csv", "deep/empty", "deep/b c.bin"):
        assert (target / "d" / "in" / file).read_bytes() == (folder / file).read_bytes()
    assert (made["version"], again["version"]) == ("1", "2")
    assert (await headrace(control, "data", "show", "-n", "d"))["version"] == "2"
    await headrace(control, "data", "archive", "-n", "d")
    assert await headrace(control, "data", "list") == []


async def test_a_model_comes_down(control: ControlClient, tmp_path: Path) -> None:
    (tmp_path / "m.bin").write_bytes(b"weights")
    path = str(tmp_path / "m.bin")
    await headrace(control, "model", "create", "-n", "m", "-v", "1", "--path", path)
    out = str(tmp_path / "out")

    await headrace(control, "model", "download", "-n", "m", "-v", "1", "-p", out)

    assert (tmp_path / "out" / "m" / "m.bin").read_bytes() == b"weights"


async def test_files_of_every_other_noun_are_kept(control: ControlClient, tmp_path: Path) -> None:
    files = {
        "datastore": "name: mine\ntype: azure_blob\naccount_name: x\ncontainer_name: my-data\n",
        "compute": "name: big\ntype: amlcompute\nsize: Standard_F2s_v2\nmax_instances: 3\n",
        "schedule": "name: nightly\ntrigger:\n  type: cron\n  expression: 0 3 * * *\n"
        "create_job:\n  type: pipeline\nis_enabled: false\n",
        "component": "name: c\nversion: 3\ntype: command\ncommand: echo\n",
    }
    for noun, text in files.items():
        file = tmp_path / f"{noun}.yml"
        file.write_text(text)
        await headrace(control, noun, "create", "--file", str(file))

    await headrace(control, "schedule", "disable", "-n", "nightly")
    await headrace(control, "compute", "update", "-n", "big", "--max-instances", "5")
    await headrace(control, "workspace", "update", "--tags", "team=a")

    stores = await headrace(control, "datastore", "list")
    assert [one["name"] for one in stores][-1] == "mine"
    compute = await headrace(control, "compute", "show", "-n", "big")
    assert compute["properties"]["scaleSettings"]["maxNodeCount"] == 5
    assert await headrace(control, "schedule", "list") == []
    listed = await headrace(control, "schedule", "list", "--disabled-only")
    assert [one["name"] for one in listed] == ["nightly"]
    assert (await headrace(control, "component", "show", "-n", "c"))["version"] == "3"
    assert (await headrace(control, "workspace", "show"))["tags"] == {"team": "a"}
    await headrace(control, "datastore", "delete", "-n", "mine", "--yes")
    await headrace(control, "datastore", "show", "-n", "mine", code=3)
    await headrace(control, "datastore", "delete", "-n", "workspaceblobstore", "-y", code=6)


async def test_a_collection_leaves_what_is_young(control: ControlClient, tmp_path: Path) -> None:
    (tmp_path / "m.bin").write_bytes(b"weights")
    await headrace(control, "data", "create", "-n", "d", "--path", str(tmp_path / "m.bin"))
    assert (await control.send("DELETE", "/data/d")).status == 200

    dry = await headrace(control, "gc", "--dry-run")
    done = await headrace(control, "gc")

    nothing = {
        "versions": 0,
        "uploads": 0,
        "names": 0,
        "blobs": 0,
        "environments": 0,
        "size_bytes": 0,
    }
    assert dry == nothing | {"dryRun": True}
    assert done == nothing | {"dryRun": False}
    told = (await headrace(control, "events", "-r", "2"))[0]
    assert (told["who"], told["outcome"]) == ("admin", "Succeeded")
    assert told["action"].endswith("collectGarbage/action")


TWO_WRITERS = [
    pytest.param(
        ("online-endpoint", "update", "-n", "houses", "--set"), "tags.{}=1", id="endpoint"
    ),
    pytest.param(("workspace", "update", "--tags"), "{}=1", id="workspace"),
    pytest.param(("data", "update", "-n", "d", "-v", "1", "--set"), "tags.{}=1", id="version"),
    pytest.param(("schedule", "update", "-n", "s", "--set"), "properties.tags.{}=1", id="schedule"),
]


@pytest.mark.parametrize(("command", "change"), TWO_WRITERS)
async def test_of_two_who_change_the_same_one_is_told_and_nothing_is_lost(
    control: ControlClient, tmp_path: Path, command: tuple[str, ...], change: str
) -> None:
    """The first has read and is held in front of its write until the second is done."""
    await control.created("/onlineEndpoints/houses", endpoint_body())
    data = {"dataUri": "https://example.com/x", "dataType": "uri_file"}
    await control.put("/data/d/versions/1", {"properties": data})
    trigger = {"triggerType": "Cron", "expression": "0 8 * * *"}
    action = {"actionType": "CreateJob"}
    schedule = {"trigger": trigger, "action": action, "isEnabled": False}
    await control.put("/schedules/s", {"properties": schedule})
    context = ssl.create_default_context(cafile=control.home.ca)
    port = int(control.base.rpartition(":")[2])

    async with TcpProxy(port, tls=context) as proxy:
        proxy.hold_from(b"PATCH " if command[0] == "workspace" else b"PUT ")
        url = proxy.url.replace("nats:", "http:")
        first = asyncio.create_task(
            headrace(control, *command, change.format("first"), url=url, code=6)
        )
        await asyncio.wait_for(proxy.held.wait(), BOUND_S)
        await headrace(control, *command, change.format("second"))
        proxy.release()
        told = await first

    assert "has changed since it was read" in told
    assert "run the same command again" in told
    shown = json.dumps(await headrace(control, *command, change.format("first")))
    assert '"first"' in shown
    assert '"second"' in shown


async def test_each_kind_of_asset_is_archived_and_restored(
    control: ControlClient, tmp_path: Path
) -> None:
    file = tmp_path / "c.yml"
    file.write_text("name: one\ntype: command\ncommand: echo\n")
    (tmp_path / "m.bin").write_bytes(b"weights")
    making = {
        "component": ("--file", str(file)),
        "environment": ("-n", "one", "--image", "some"),
        "model": ("-n", "one", "--path", str(tmp_path / "m.bin")),
    }
    for kind, words in making.items():
        made = await headrace(control, kind, "create", *words)
        assert made["version"] == "1", kind
        await headrace(control, kind, "archive", "-n", "one")
        hidden = await headrace(control, kind, "list")
        await headrace(control, kind, "restore", "-n", "one")
        shown = await headrace(control, kind, "list")
        assert "one" not in [each["name"] for each in hidden], kind
        assert "one" in [each["name"] for each in shown], kind


async def test_a_warning_is_told_once_and_a_refusal_names_its_line(
    control: ControlClient, tmp_path: Path
) -> None:
    file = tmp_path / "big.yml"
    file.write_text("name: big\ntype: amlcompute\nsize: Standard_F2s_v2\n")
    monitor = tmp_path / "monitor.yml"
    monitor.write_text("name: m\nis_enabled: false\ncreate_monitor:\n  compute: {}\n  target: x\n")

    _, made = await told(control, "compute", "create", "--file", str(file))
    _, quiet = await told(control, "compute", "create", "-f", str(file), "--only-show-errors")
    _, refused = await told(control, "schedule", "create", "--file", str(monitor), code=1)

    assert made.count("warning: size has no effect") == 1
    assert quiet == ""
    assert "monitor.yml:3: create_monitor is not supported" in refused
    shown = await headrace(control, "compute", "show", "-n", "big")
    assert [line.partition(" ")[0] for line in shown["warnings"]] == ["size"]
