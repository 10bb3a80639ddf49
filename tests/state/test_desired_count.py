"""The one reader of how many instances a deployment wants."""

from __future__ import annotations

from typing import Any

import pytest

from headrace_api.errors import InvalidInput
from headrace_api.online_deployment import MAX_INSTANCES
from headrace_services.control.fleet.snapshot import Snapshot
from headrace_state.deployment_name import DeploymentName
from headrace_state.desired_count import desired_count, differs_in_count_only
from headrace_state.records import Spec
from headrace_state.repository import Stored


def spec(**arm: Any) -> Spec:
    return Spec(name="blue", arm={"properties": {}} | arm)


@pytest.mark.parametrize(
    ("arm", "count"),
    [
        ({}, 1),
        ({"sku": None}, 1),
        ({"sku": {"name": "Default"}}, 1),
        ({"sku": {"capacity": 1}}, 1),
        ({"sku": {"capacity": MAX_INSTANCES}}, MAX_INSTANCES),
    ],
)
def test_the_count_is_the_capacity_of_the_sku_and_one_without_it(
    arm: dict[str, Any], count: int
) -> None:
    assert desired_count(spec(**arm)) == count


@pytest.mark.parametrize("capacity", [0, -1, MAX_INSTANCES + 1, True, "two", 1.5, []])
def test_what_is_no_count_is_refused_by_the_deployments_name(capacity: object) -> None:
    with pytest.raises(InvalidInput, match="'blue'"):
        desired_count(spec(sku={"capacity": capacity}))


def test_a_spec_without_a_count_hides_no_other_deployment_from_the_metrics() -> None:
    snapshot = Snapshot(endpoints={"iris": Stored(key="endpoint.iris", value=spec(), revision=1)})
    for name, capacity in (("blue", 3), ("bad", "many")):
        value = spec(sku={"capacity": capacity})
        one = Stored(key=f"deployment.iris.{name}", value=value, revision=1)
        snapshot.deployments[DeploymentName("iris", name)] = one

    assert snapshot.wanted() == {("iris", "blue"): 3}


@pytest.mark.parametrize(
    ("new", "only_count"),
    [
        ({"sku": {"capacity": 2}, "tags": {}}, True),
        ({"tags": {}}, True),
        ({"sku": {"capacity": 1}, "tags": {"a": "b"}}, False),
        ({"sku": {"capacity": 2}, "tags": {"a": "b"}}, False),
    ],
)
def test_a_change_of_the_count_alone_is_told_from_any_other(
    new: dict[str, Any], only_count: bool
) -> None:
    old = {"sku": {"capacity": 1}, "tags": {}}

    assert differs_in_count_only(old, new) is only_count
