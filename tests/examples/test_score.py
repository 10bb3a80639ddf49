"""Each example's score.py answers its sample request in an interpreter of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import uv
import yaml

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CALL_RUN = """
import asyncio, json, sys
sys.path.insert(0, sys.argv[1])
import score
score.init()
answer = score.run(sys.stdin.read())
print(json.dumps(asyncio.run(answer) if asyncio.iscoroutine(answer) else answer))
"""
CALL_RAW_RUN = """
import json, sys
sys.path.insert(0, sys.argv[1])
import score
from flask import Flask, request
score.init()
method, body = sys.argv[2], sys.stdin.buffer.read()
with Flask("server").test_request_context(method=method, data=body):
    response = score.run(request)
print(json.dumps([response.status_code, json.loads(response.get_data())]))
"""


def call(
    python: Path, script: str, example: str, body: bytes, *words: str, model: Path | None = None
) -> Any:
    """What `run` of the example returns for this body."""
    code = EXAMPLES / example / "onlinescoring"
    done = subprocess.run(
        [python, "-c", script, code, *words],
        input=body,
        capture_output=True,
        env=os.environ | ({"AZUREML_MODEL_DIR": str(model)} if model else {}),
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout.splitlines()[-1])


def sample(example: str) -> bytes:
    return (EXAMPLES / example / "sample-request.json").read_bytes()


def pip_packages(example: str) -> list[str]:
    dependencies = yaml.safe_load((EXAMPLES / example / "conda.yml").read_text())["dependencies"]
    return next(entry["pip"] for entry in dependencies if isinstance(entry, dict))


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with what the examples' conda files ask for."""
    folder = tmp_path_factory.mktemp("examples") / "env"
    interpreter = folder / "bin" / "python"
    packages = pip_packages("regression") + pip_packages("rawhttp-image")
    install = ["pip", "install", "--quiet", "--python", str(interpreter), *packages]
    for words in (["venv", "--quiet", "--python", sys.executable, str(folder)], install):
        subprocess.run([uv.find_uv_bin(), *words], check=True)
    return interpreter


def test_stdlib_prices_a_house_differently_in_blue_and_green() -> None:
    prices = [
        call(
            Path(sys.executable),
            CALL_RUN,
            "stdlib",
            sample("stdlib"),
            model=EXAMPLES / "stdlib" / "models" / colour,
        )
        for colour in ("blue", "green")
    ]

    assert prices == [{"price": 320_000}, {"price": 325_000}]


def test_async_scores_every_id() -> None:
    answer = call(Path(sys.executable), CALL_RUN, "async", sample("async"))

    assert answer == {"scores": [5, 16, 33]}


@pytest.mark.parametrize(("model", "values"), [("price", [200_000, 340_000]), ("rent", [590, 975])])
def test_two_models_answers_with_the_model_the_request_names(model: str, values: list[int]) -> None:
    request = json.loads(sample("two-models")) | {"model": model}
    body = json.dumps(request).encode()
    folder = EXAMPLES / "two-models"

    answer = call(Path(sys.executable), CALL_RUN, "two-models", body, model=folder)

    assert answer == {"model": model, "values": values}


@pytest.mark.slow
def test_regression_trains_two_models_that_differ(python: Path, tmp_path: Path) -> None:
    train = tmp_path / "train.py"
    train.write_bytes((EXAMPLES / "regression" / "train.py").read_bytes())
    subprocess.run([python, train], check=True, capture_output=True)

    answers = [
        call(
            python,
            CALL_RUN,
            "regression",
            sample("regression"),
            model=(tmp_path / yaml.safe_load(file.read_text())["model"]["path"]).parent,
        )
        for file in (EXAMPLES / "regression" / name for name in ("blue.yml", "green.yml"))
    ]

    assert [len(answer) for answer in answers] == [2, 2]
    assert all(20 < value < 350 for answer in answers for value in answer)
    assert answers[0] != answers[1]


@pytest.mark.slow
def test_rawhttp_image_says_what_the_picture_is(python: Path) -> None:
    picture = (EXAMPLES / "rawhttp-image" / "sample-image.png").read_bytes()

    assert call(python, CALL_RAW_RUN, "rawhttp-image", picture, "POST") == [
        200,
        {"format": "PNG", "width": 32, "height": 20},
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "status"), [("POST", 400), ("GET", 405)])
def test_rawhttp_image_refuses_what_is_no_picture(python: Path, method: str, status: int) -> None:
    answered, body = call(python, CALL_RAW_RUN, "rawhttp-image", b"not a picture", method)

    assert answered == status
    assert set(body) == {"message"}
