"""Forms of score.py that run on Azure as they are: in a folder, streaming, with pools and loops."""

from __future__ import annotations

import http.client

import pytest

from support.deploy import Workbench

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

IN_A_FOLDER = """
import os
import helper
def init():
    global here
    here = [os.getcwd(), os.environ["AML_APP_ROOT"]]
def run(raw):
    return {"helper": helper.NAME, "same": here[0] == here[1], "tail": here[0].split("/")[-1]}
"""
STREAMS = """
import asyncio
from azureml.contrib.services.aml_response import AMLResponse
def init():
    asyncio.run(asyncio.sleep(0))
async def pieces():
    for n in range(3):
        yield "data: %d\\n\\n" % n
        await asyncio.sleep(0)
async def run(raw):
    return AMLResponse(pieces(), 200, {"Content-Type": "text/event-stream"})
"""


@pytest.mark.parametrize("script", ["src/score.py", "./src/score.py"])
def test_a_script_in_a_folder_finds_its_neighbours(bench: Workbench, script: str) -> None:
    name = "infolder" if script.startswith("src") else "indot"
    bench.endpoint(name)
    file = bench.deployment_file(name, "blue", "patient")
    source = bench.folder / f"{name}-blue-code" / "src"
    source.mkdir()
    (source / "score.py").write_text(IN_A_FOLDER)
    (source / "helper.py").write_text("NAME = 'beside'\n")
    text = file.read_text().replace("scoring_script: score.py", f"scoring_script: {script}")
    file.write_text(text)
    bench.platform.run("online-deployment", "create", "-f", str(file), "--all-traffic")
    body = bench.write("body.json", {})
    found = bench.platform.json("online-endpoint", "invoke", "-n", name, "-r", str(body))
    assert found == {"helper": "beside", "same": True, "tail": "src"}


def test_an_async_run_streams_a_response_to_the_caller(bench: Workbench) -> None:
    bench.endpoint("streams")
    file = bench.deployment_file("streams", "blue", "patient")
    (bench.folder / "streams-blue-code" / "score.py").write_text(STREAMS)
    bench.platform.run("online-deployment", "create", "-f", str(file), "--all-traffic")
    key = bench.platform.run("key", "streams").stdout.strip()
    url = bench.platform.json("status")["http_url"].removeprefix("http://")
    connection = http.client.HTTPConnection(url, timeout=60)
    connection.request(
        "POST", "/endpoints/streams/score", b"{}", {"Authorization": f"Bearer {key}"}
    )
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.read() == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
    connection.close()
