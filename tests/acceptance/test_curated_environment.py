"""A curated environment of Azure's is built from its name, by the command a user has."""

from __future__ import annotations

import json
import sys

import pytest

from support.deploy import Workbench
from support.platform import Platform

pytestmark = [pytest.mark.timeout(600), pytest.mark.full]
SCORE = """
def init():
    pass

def run(raw):
    import sklearn
    return {"sklearn": sklearn.__version__}
"""


def test_a_curated_name_is_built_and_scored_with_and_says_what_it_has_instead(
    platform: Platform, bench: Workbench
) -> None:
    bench.endpoint("curated")
    environment = "azureml://registries/azureml/environments/sklearn-1.0/labels/latest"
    file = bench.deployment_file("curated", "blue", "patient", environment=environment)
    (bench.folder / "curated-blue-code" / "score.py").write_text(SCORE)
    create = ("online-deployment", "create", "-f", str(file), "--all-traffic")

    told = platform.run(*create).stderr
    body = str(bench.write("r.json", {}))
    answer = json.loads(
        platform.run("online-endpoint", "invoke", "-n", "curated", "-r", body).stdout
    )

    assert f"not 1.0: there is no wheel of 1.0 for Python 3.{sys.version_info.minor}" in told
    assert not answer["sklearn"].startswith("1.0.")
    assert "is unchanged" in platform.run(*create).stderr, "a label is not another definition"
