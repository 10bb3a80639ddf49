"""From specs to the one record that ingresses apply."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from headrace_bus.wire.route_record import DeploymentRoute, Route
from headrace_services.control.fleet.route_compiler import compile_route
from headrace_services.control.identity.access import Access
from headrace_state.records import Client, Spec
from support.resources import deployment_body, endpoint_body

DIGESTS = ("a" * 64, "b" * 64)


def _endpoint(**properties: Any) -> Spec:
    return Spec(name="My-Ep", arm=endpoint_body(**properties), deployments=("blue", "green"))


def _deployment(name: str, *, deleting: bool = False, **properties: Any) -> Spec:
    arm = deployment_body("azureml:c:1", capacity=3, **properties)
    return Spec(name=name, arm=arm, deleting=deleting)


def test_a_route_holds_what_an_ingress_needs_and_survives_its_codec() -> None:
    settings = {"requestTimeout": "PT30S", "maxConcurrentRequestsPerInstance": 4}
    blue = _deployment(
        "Blue", requestSettings=settings, properties={"headrace.idempotent": "false"}
    )
    green = _deployment("green")
    endpoint = _endpoint(traffic={"blue": 100}, mirrorTraffic={"green": 10})

    route = compile_route(endpoint, [blue, green], DIGESTS, "c" * 64)

    assert (route.endpoint, route.auth_mode, route.key_digests) == ("my-ep", "key", DIGESTS)
    assert (route.traffic, route.mirror) == ({"blue": 100}, {"green": 10})
    assert route.token_public_key == ""
    assert route.deployments["blue"] == DeploymentRoute(
        name="blue",
        max_concurrent=4,
        desired_instances=3,
        request_timeout_ms=30_000,
        max_queue_wait_ms=500,
        idempotent=False,
    )
    assert Route.decode(route.encode()) == route


def test_tokens_open_token_endpoints_and_keys_do_not() -> None:
    route = compile_route(_endpoint(authMode="AMLToken"), [], DIGESTS, "c" * 64)

    assert (route.auth_mode, route.key_digests) == ("aml_token", ())
    assert route.token_public_key == "c" * 64


def test_a_token_endpoint_names_its_life_and_who_may_score_with_a_token() -> None:
    clients = [
        Client(id=role, name=role, role=role, secret_digest="", endpoint=endpoint)
        for role, endpoint in (("scorer", "my-ep"), ("owner", ""), ("reader", ""))
    ]
    access = Access(clients=tuple(clients), audiences=("a",), admin_digests=("b",))
    spec = replace(_endpoint(authMode="AMLToken"), created_at="2026-12-01T00:00:00.001Z")

    route = compile_route(spec, [], DIGESTS, "c" * 64, access)

    assert (route.epoch, route.callers) == (spec.created_at, ("owner", "scorer"))
    assert (route.audiences, route.key_digests, route.issuers) == ((), (), ())
    assert compile_route(_endpoint(), [], DIGESTS, "", access).callers == ()


def test_nothing_new_reaches_a_deployment_on_its_way_out() -> None:
    specs = [_deployment("blue", deleting=True), _deployment("other")]
    endpoint = _endpoint(traffic={"blue": 100})

    route = compile_route(endpoint, specs, DIGESTS, "")

    assert (route.traffic, route.deployments) == ({}, {})
