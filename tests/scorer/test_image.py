"""An image alone, where instances are processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace_bus.wire.heartbeat import InstanceState
from headrace_bus.wire.launch import EnvironmentSpec
from headrace_scorer import environment, image, interpreters
from scorer.conftest import Serve

MINIMAL = "mcr.microsoft.com/azureml/minimal-ubuntu20.04-py38-cpu-inference:latest"


@pytest.mark.parametrize(
    ("name", "python"),
    [
        (MINIMAL, "==3.8.*"),
        ("python:3.11-slim", "==3.11.*"),
        ("registry.example/team/py3.10-model", "==3.10.*"),
        ("mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04:20230101", ""),
        ("numpy3:1", ""),
        ("pytorch/torchserve:0.9", ""),
    ],
)
def test_the_python_that_an_image_speaks_of(name: str, python: str) -> None:
    assert image.python_of(name) == python


@pytest.mark.parametrize(
    ("name", "package"),
    [
        (MINIMAL, "inference-schema"),
        ("mcr.microsoft.com/azureml/curated/sklearn-1.5:12", "scikit-learn==1.5.*"),
        ("mcr.microsoft.com/azureml/sklearn-0.24-ubuntu18.04-py37-cpu-inference", "joblib"),
        (
            "mcr.microsoft.com/azureml/curated/tensorflow-2.16-cuda12@sha256:00",
            "tensorflow==2.16.*",
        ),
    ],
)
def test_a_curated_image_brings_its_packages(name: str, package: str) -> None:
    assert package in image.packages_of(name, 11)


def test_another_image_brings_none() -> None:
    assert image.packages_of("registry.example/team/model:1", 11) == ()


async def test_a_bare_environment_stands_in_for_an_image(tmp_path: Path) -> None:
    spec = EnvironmentSpec(image="registry.example/team/model:1", name="mine")

    planned, warning = await environment.plan(spec, tmp_path, print)

    assert planned.interpreter == interpreters.own()
    assert planned.requirements.packages == ()
    assert "image registry.example/team/model:1 is not run on process compute" in warning
    assert "no packages" in warning
    assert "add a conda_file" in warning


async def test_a_module_the_image_had_is_told_with_what_to_do(serve: Serve) -> None:
    spec = EnvironmentSpec(image="registry.example/team/model:1", name="mine")
    instance, _ = await serve(
        "import lightgbm_of_the_image\ndef init(): pass\ndef run(a): pass",
        wait=False,
        environment=spec,
    )

    beat = await instance.until(InstanceState.FAILED)

    assert "lightgbm_of_the_image" in beat.error
    assert "add a conda_file" in beat.hint
    assert spec.image in beat.hint
    assert "is not run on process compute" in instance.log("storage-initializer.log")
