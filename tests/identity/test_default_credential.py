"""`DefaultAzureCredential()` and `MLClient.from_config` after `eval "$(headrace env azure)"`."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path

import pytest

from headrace.azure_env import config, snippet, variables, write_bundle
from support.control import ControlClient
from support.identity import make_client
from support.resources import endpoint_body

PYTHON = Path(__file__).parents[2] / ".venv-sdk" / "bin" / "python"
# A notebook's first cell; whoever else is asked ends it.
NOTEBOOK = """
import socket, sys
real = socket.getaddrinfo
def guarded(host, *more, **named):
    if host not in ("localhost", "127.0.0.1"):
        sys.exit(f"{host} was asked")
    return real(host, *more, **named)
socket.getaddrinfo = guarded

from azure.ai.ml import MLClient
from azure.identity import DefaultAzureCredential
ml_client = MLClient.from_config(DefaultAzureCredential())
print([one.name for one in ml_client.online_endpoints.list()])
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="scripts/setup --sdk makes the client's"),
]


async def run(script: str, folder: Path, environment: dict[str, str]) -> str:
    done = await asyncio.to_thread(
        subprocess.run,
        [str(PYTHON), "-c", script],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


async def test_a_notebook_signs_in_with_the_default_credential(
    control: ControlClient, tmp_path: Path
) -> None:
    await control.created("/onlineEndpoints/houses", endpoint_body())
    client = await make_client(control, "contributor")
    bundle = write_bundle(control.home, {})
    (tmp_path / "config.json").write_text(json.dumps(config()))
    environment = variables(control.base, bundle, "metadata") | {
        "AZURE_CLIENT_ID": client.id,
        "AZURE_CLIENT_SECRET": client.secret,
    }

    assert (await run(NOTEBOOK, tmp_path, environment)).strip() == "['houses']"


async def test_the_python_it_prints_runs_without_a_client(
    control: ControlClient, tmp_path: Path
) -> None:
    bundle = write_bundle(control.home, {})
    script = snippet(control.base, control.home)
    script += "\nprint([one.name for one in ml_client.online_endpoints.list()])\n"

    out = await run(script, tmp_path, {"REQUESTS_CA_BUNDLE": str(bundle)})
    assert out.strip() == "[]"
