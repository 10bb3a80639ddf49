"""Each example works as its README says, through the platform."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.platform import Platform

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
# Each but the standard library's builds its environment from the package registry.
pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]


class Example:
    """A user's copy of one example, deployed."""

    def __init__(self, platform: Platform, name: str, folder: Path) -> None:
        self.platform = platform
        self.folder = folder / name
        shutil.copytree(EXAMPLES / name, self.folder)
        self.endpoint = yaml.safe_load((self.folder / "endpoint.yml").read_text())["name"]

    def create(self, *deployments: str) -> None:
        create = ("create", "-f")
        self.platform.run("online-endpoint", *create, str(self.folder / "endpoint.yml"))
        for number, file in enumerate(deployments):
            traffic = ("--all-traffic",) if number == 0 else ()
            self.platform.run("online-deployment", *create, str(self.folder / file), *traffic)

    def invoke(self, *words: str) -> Any:
        request = str(self.folder / "sample-request.json")
        invoke = ("online-endpoint", "invoke", "-n", self.endpoint, "--request-file", request)
        return json.loads(self.platform.run(*invoke, *words).stdout)

    def delete(self) -> None:
        self.platform.run("online-endpoint", "delete", "-n", self.endpoint, "-y")


def test_standard_library(platform: Platform, tmp_path: Path) -> None:
    example = Example(platform, "stdlib", tmp_path)
    example.create("blue.yml", "green.yml")

    assert example.invoke() != example.invoke("-d", "green")
    example.delete()


def test_async_run_finds_what_it_waits_for(platform: Platform, tmp_path: Path) -> None:
    example = Example(platform, "async", tmp_path)
    example.create("deployment.yml")
    ids = json.loads((example.folder / "sample-request.json").read_text())["ids"]

    assert example.invoke() == {"scores": [2 * one + 3 * one * one for one in ids]}
    example.delete()


def test_two_models_in_one_folder(platform: Platform, tmp_path: Path) -> None:
    example = Example(platform, "two-models", tmp_path)
    example.create("deployment.yml")
    asked = json.loads((example.folder / "sample-request.json").read_text())
    answers = {}
    for model in ("price", "rent"):
        body = json.dumps(asked | {"model": model})
        (example.folder / "sample-request.json").write_text(body)
        answers[model] = example.invoke()["values"]

    assert len(answers["price"]) == len(asked["square_metres"])
    assert answers["price"] != answers["rent"]
    example.delete()


def test_a_picture_by_rawhttp(platform: Platform, tmp_path: Path) -> None:
    example = Example(platform, "rawhttp-image", tmp_path)
    example.create("deployment.yml")
    picture = (example.folder / "sample-image.png").read_bytes()

    assert post_picture(platform, example.endpoint, picture)[0] == 200
    status, model_status = post_picture(platform, example.endpoint, b"not a picture")
    assert (status, model_status) == (424, "400")
    example.delete()


def test_regression_by_two_trained_models(platform: Platform, tmp_path: Path) -> None:
    """The demo's example: trained here in the environment its deployments were built with."""
    from headrace.demo.project import Project
    from headrace.demo.training import train
    from headrace_api.home import Home

    example = Example(platform, "regression", tmp_path)
    assert "R2" in train(Project(folder=example.folder), Home(platform.home))
    example.create("blue.yml", "green.yml")

    blue, green = example.invoke(), example.invoke("-d", "green")
    assert len(blue) == len(green) == 2
    assert blue != green
    example.delete()


def post_picture(platform: Platform, endpoint: str, body: bytes) -> tuple[int, str]:
    """Status at the edge, and the model's own."""
    headers = {"Authorization": f"Bearer {platform.key(endpoint)}", "Content-Type": "image/png"}
    request = urllib.request.Request(platform.url(endpoint), data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert json.loads(answer.read())["format"] == "PNG"
            return answer.status, ""
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["ms-azureml-model-error-statuscode"]
