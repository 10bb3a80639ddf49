"""The single file of 2021 through the command: created, scored, changed, one taken out."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from support.deploy import FIXTURES, Workbench
from support.platform import Platform

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]
EP = "single"


def deployment(name: str, version: str) -> dict[str, Any]:
    return {
        "name": name,
        "model": {"name": "single-model", "version": 1, "local_path": "model.txt"},
        "code_configuration": {"code": {"local_path": "code"}, "scoring_script": "score.py"},
        "environment": {
            "name": "single-env",
            "version": 1,
            "path": ".",
            "conda_file": "file:conda.yml",
            "docker": {"image": "mcr.microsoft.com/azureml/openmpi3.1.2-ubuntu18.04"},
        },
        "environment_variables": {"VERSION": version},
        "instance_type": "Standard_F2s_v2",
        "scale_settings": {"scale_type": "manual", "instance_count": 1},
    }


def test_a_single_file_is_created_scored_updated_and_what_it_leaves_out_is_deleted(
    platform: Platform, bench: Workbench
) -> None:
    shutil.copytree(FIXTURES / "patient", bench.folder / "code")
    (bench.folder / "model.txt").write_text("m")
    (bench.folder / "conda.yml").write_text("dependencies: [python]\n")
    body = str(bench.write("r.json", {"nonce": "n"}))
    both = {"blue": 100} | {"green": 0}

    def apply(
        verb: str,
        traffic: dict[str, int] | None,
        *deployments: dict[str, Any],
        more: tuple[str, ...] = (),
        code: int = 0,
    ) -> str:
        values: dict[str, Any] = {"name": EP, "type": "online", "auth_mode": "key"}
        values |= {} if traffic is None else {"traffic": traffic}
        file = bench.write("single.yml", values | {"deployments": list(deployments)})
        return platform.run("online-endpoint", verb, "-f", str(file), *more, code=code).stderr

    def version() -> str:
        words = ("online-endpoint", "invoke", "-n", EP, "-r", body)
        return str(json.loads(platform.run(*words).stdout)["version"])

    def names() -> list[str]:
        return sorted(d["name"] for d in platform.json("online-deployment", "list", "-e", EP))

    blue, green = deployment("blue", "1"), deployment("green", "2")
    apply("create", both, blue, green)
    assert (version(), names()) == ("1", ["blue", "green"])
    assert platform.json("environment", "show", "-n", "single-env", "-v", "1")["conda_file"]
    assert "blue is unchanged" in apply("create", both, blue, green)

    platform.run("online-endpoint", "update", "-n", EP, "--mirror-traffic", "green=10")

    two = ("--set", "deployments[0].scale_settings.instance_count=2")
    apply("update", both, deployment("blue", "3"), green, more=two)
    assert version() == "3"
    shown = platform.json("online-deployment", "show", "-e", EP, "-n", "blue")
    assert shown["instance_count"] == 2

    told = apply("create", both, blue, green, code=6)
    assert "differs in environment_variables, instance_count" in told
    assert "headrace online-endpoint update -f" in told
    assert "add a traffic block to the file" in apply("update", None, green, code=2)
    assert (version(), names()) == ("3", ["blue", "green"]), "nothing was changed"

    assert "deleted blue" in apply("update", {"green": 100}, green)
    assert (version(), names()) == ("2", ["green"])
    assert platform.json("online-endpoint", "show", "-n", EP)["mirror_traffic"] == {}
    platform.run("online-endpoint", "delete", "-n", EP, "-y")
