"""What a launch record is made of."""

from __future__ import annotations

from typing import Any

import pytest

from headrace_api.deployment_settings import DataCollector
from headrace_state.launch_builder import collector_variables

ON: dict[str, Any] = {"enabled": "True"}


@pytest.mark.parametrize(
    ("collections", "is_given"),
    [
        ({"model_inputs": ON}, True),
        ({"Request": ON, "model_outputs": ON}, True),
        ({"request": ON, "Response": ON}, False),
        ({"model_inputs": {"enabled": "false"}}, False),
        ({}, False),
    ],
)
def test_a_script_s_collector_starts_where_a_collection_of_its_own_is_enabled(
    collections: dict[str, Any], is_given: bool
) -> None:
    collector = DataCollector.model_validate({"sampling_rate": 0.25, "collections": collections})

    found = collector_variables(collector)

    assert (found.get("AZUREML_MDC_ENABLED") == "true") is is_given
    assert found.get("AZUREML_MDC_SAMPLE_RATE") == ("25" if is_given else None)


def test_without_a_collector_nothing_is_set() -> None:
    assert collector_variables(None) == {}
