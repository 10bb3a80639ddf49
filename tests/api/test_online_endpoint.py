"""Online endpoints: YAML to ARM and back, and every rule of the traffic table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_api.errors import InvalidInput
from headrace_api.online_endpoint import OnlineEndpoint, validate_endpoint_arm

NAMES = st.from_regex(r"[a-z]([-a-z0-9]{1,10}[a-z0-9])", fullmatch=True)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=20)


@st.composite
def endpoints(draw: st.DrawFn) -> dict[str, Any]:
    first = draw(st.integers(min_value=0, max_value=100))
    live = draw(st.sampled_from([{}, {"blue": first, "green": 100 - first}]))
    mirror = draw(st.sampled_from([{}, {"shadow": draw(st.integers(0, 50))}]))
    return {
        "name": draw(NAMES),
        "auth_mode": draw(st.sampled_from(["key", "aml_token", "aad_token"])),
        "tags": draw(st.dictionaries(TEXTS.filter(bool), TEXTS, max_size=3)),
        "properties": draw(st.dictionaries(NAMES, TEXTS, max_size=3)),
        "traffic": live,
        "mirror_traffic": mirror,
        "public_network_access": draw(st.sampled_from(["enabled", "disabled"])),
        "location": "local",
    }


@given(endpoints())
def test_an_endpoint_survives_the_wire(values: dict[str, Any]) -> None:
    endpoint = OnlineEndpoint.from_values(values)
    again = OnlineEndpoint.from_arm(endpoint.to_arm(), name=endpoint.name)
    assert again == endpoint
    assert (
        OnlineEndpoint.from_values(
            again.to_yaml() | {"tags": again.tags, "properties": again.properties}
        )
        == endpoint
    )


def arm(**properties: object) -> dict[str, Any]:
    return {"location": "local", "properties": {"authMode": "Key", **properties}}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (arm(traffic={"blue": 90}), "sum to 90; they must sum to 100"),
        (arm(traffic={"blue": 101}), "traffic.blue is 101: at most 100"),
        (arm(traffic={"blue": -1}), "traffic.blue is -1: at least 0"),
        (arm(traffic={"blue": 50.5, "green": 49.5}), "a whole number is allowed"),
        (arm(traffic={"blue": 100, "Blue": 0}), "is given twice"),
        (arm(traffic={"-": 100}), "deployment name '-' is not allowed"),
        (arm(traffic=[1]), "traffic is [1]: a block of keys and values"),
        (arm(mirrorTraffic={"green": 60}), "at most 50 percent can be mirrored"),
        (arm(mirrorTraffic={"green": 10, "red": 10}), "only one deployment"),
        (
            arm(traffic={"blue": 100}, mirrorTraffic={"blue": 10}),
            "mirror_traffic names 'blue', which has 100 percent",
        ),
        (arm(traffic={"red": 100}), "traffic names 'red', which is not a deployment"),
        (arm(mirrorTraffic={"red": 10}), "mirror_traffic names 'red'"),
        (arm(authMode="Password"), "auth_mode is 'password': allowed are 'key'"),
        (arm(compute="azureml:k8s"), "compute is not supported: Kubernetes is not supported yet"),
        (arm(properties=3), "properties must be an object"),
        ({"properties": "x"}, "properties must be an object"),
        ({"kind": "K8S", "properties": {}}, "only Managed is supported yet"),
        (arm(publicNetworkAccess="maybe"), "public_network_access is 'maybe'"),
    ],
)
def test_what_breaks_a_rule_is_refused_with_its_key(body: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        validate_endpoint_arm(body, name="iris", deployments={"blue", "green"})
    assert said in caught.value.message


def test_wire_spelling_sdk_pollution_zeros_and_unknown_fields_are_tolerated() -> None:
    endpoint = validate_endpoint_arm(
        arm(
            authMode="AMLToken",
            traffic={"BLUE": 100, "green": 0},
            properties={"createdBy": "a", "createdAt": "b", "lastModifiedAt": "c", "own": "d"},
            futureField=1,
        )
        | {"systemData": {"createdAt": "x"}, "identity": {"type": "SystemAssigned"}},
        name="Iris",
        deployments={"blue"},
    )
    assert endpoint.name == "iris"
    assert endpoint.auth_mode == "aml_token"
    assert endpoint.traffic == {"blue": 100}
    assert endpoint.properties == {"own": "d"}


def test_a_file_is_read_with_overrides_and_faults_carry_lines(tmp_path: Path) -> None:
    path = tmp_path / "endpoint.yml"
    path.write_text("$schema: https://x\nname: my-endpoint\nauth_mode: key\n")
    assert OnlineEndpoint.from_yaml(path, {"name": "other", "tags.a": "b"}).name == "other"
    with pytest.raises(InvalidInput) as of_an_option:
        OnlineEndpoint.from_yaml(path, {"name": "Bad Name"})
    assert of_an_option.value.message.startswith("name is 'Bad Name'"), "the file says another"
    path.write_text("name: my-endpoint\nauth_mod: key\ntags:\n  a: true\n")
    with pytest.raises(InvalidInput) as caught:
        OnlineEndpoint.from_yaml(path)
    assert caught.value.message.splitlines() == [
        "endpoint.yml:4: tags.a is True: text is allowed; put it in quotes",
        "endpoint.yml:2: auth_mod is not a key of this block; did you mean 'auth_mode'?",
    ]
