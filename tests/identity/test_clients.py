"""Clients, the tokens they get, and what control lets them do."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from headrace_api.tokens import Claims, sign
from headrace_bus.client.connection import Bus
from headrace_bus.client.settings import BusSettings
from headrace_bus.store.bucket import Bucket
from headrace_bus.wire.route_record import Route, route_key
from headrace_services.control.identity.issuer import Issuer
from support.control import ControlClient
from support.identity import TENANT, as_bearer, ask_token, fetch_token, make_client
from support.nats_server import NatsServer

BOUND_S = 15.0
EP = "/onlineEndpoints/houses"


def endpoint_body(auth_mode: str = "Key") -> dict[str, Any]:
    return {"location": "local", "properties": {"authMode": auth_mode}}


async def test_a_mistyped_limit_is_refused_and_gives_nothing(control: ControlClient) -> None:
    """A role that was to be limited to one endpoint would else reach all."""
    guid = "00000000-1111-2222-3333-444444444444"
    for limit in ({"endpointName": "houses"}, {"Endpoint": "houses"}):
        put = await control.put(f"/clients/{guid}", {"properties": {"role": "scorer"} | limit})
        assert (put.status, put.code) == (400, "BadArgument")
        assert "allowed are properties.role, properties.endpoint" in put.json["error"]["message"]
    issuer = {"issuer": "https://idp.example", "audience": "a", "subjects": "me"}
    put = await control.put(f"/issuers/{guid}", {"properties": issuer})
    assert (put.status, put.code) == (400, "BadArgument")
    assert "properties.subjects is not a key of issuers" in put.json["error"]["message"]
    assert (await control.get(f"/clients/{guid}")).status == 404


async def test_the_discovery_documents_lead_to_a_token_endpoint_and_the_key(
    control: ControlClient,
) -> None:
    for path in (f"{TENANT}/v2.0", "adfs"):
        url = f"{control.base}/{path}/.well-known/openid-configuration"
        async with control.session.get(url) as reply:
            document = await reply.json()
        assert document["issuer"].startswith(control.base)
        async with control.session.get(document["jwks_uri"]) as reply:
            key = (await reply.json())["keys"][0]
        assert (key["kty"], key["crv"], key["alg"]) == ("OKP", "Ed25519", "EdDSA")
        async with control.session.post(document["token_endpoint"], data={}) as reply:
            assert (reply.status, (await reply.json())["error"]) == (400, "invalid_request")


async def test_a_client_signs_in_by_form_and_by_basic_for_our_scope_and_azures(
    control: ControlClient,
) -> None:
    client = await make_client(control, "reader")
    scopes = (
        f"{control.base}/.default",
        "https://management.azure.com/.default",
        "https://ml.azure.com/.default",
    )
    for scope in scopes:
        token = await fetch_token(control, client, scope)
        assert (await as_bearer(control, token, "GET", "/onlineEndpoints")).status == 200
    basic = {"Authorization": aiohttp.encode_basic_auth(client.id, client.secret)}
    form = {"grant_type": "client_credentials", "scope": scopes[0]}
    assert (await ask_token(control, form, headers=basic))[0] == 200


async def test_the_secret_is_told_once_and_only_its_digest_is_stored(
    control: ControlClient, nats_server: NatsServer
) -> None:
    client = await make_client(control, "reader")
    for path in ("/clients", f"/clients/{client.id}"):
        assert client.secret.encode() not in (await control.get(path)).data
    bus = await Bus.connect(BusSettings(url=nats_server.url, name="test"))
    stored = await Bucket(bus, "spec").get(f"client.{client.id}")
    await bus.close()
    assert stored is not None
    assert client.secret.encode() not in stored.value


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_id": "nobody"}, 401, "invalid_client"),
        (
            {"grant_type": "urn:ietf:params:oauth:grant-type:device_code"},
            400,
            "unsupported_grant_type",
        ),
        ({"grant_type": ""}, 400, "invalid_request"),
        ({"scope": "https://graph.microsoft.com/.default"}, 400, "invalid_scope"),
        ({"scope": ""}, 400, "invalid_scope"),
        ({"client_assertion": "x"}, 401, "invalid_client"),
        ({"padding": "x" * 20_000}, 413, "invalid_request"),
    ],
)
async def test_a_wrong_request_for_a_token_gets_an_oauth_error(
    control: ControlClient, change: dict[str, str], status: int, error: str
) -> None:
    client = await make_client(control, "reader")
    form = {
        "grant_type": "client_credentials",
        "client_id": client.id,
        "client_secret": client.secret,
        "scope": "https://ml.azure.com/.default",
    }
    found, body = await ask_token(control, form | change)
    assert (found, body["error"]) == (status, error)
    assert body["error_description"]
    assert client.secret not in body["error_description"]


async def test_another_tenant_is_not_ours(control: ControlClient) -> None:
    status, body = await ask_token(control, {"grant_type": "x"}, tenant=TENANT[:-1] + "2")
    assert (status, body["error"]) == (400, "invalid_request")
    assert TENANT in body["error_description"]


async def test_guesses_are_slowed_down_and_whoever_knows_the_secret_is_not(
    control: ControlClient,
) -> None:
    guessed, other = await make_client(control, "reader"), await make_client(control, "reader")
    form = {
        "grant_type": "client_credentials",
        "client_id": guessed.id,
        "client_secret": "wrong",
        "scope": "https://ml.azure.com/.default",
    }
    answers = [(await ask_token(control, form))[0] for _ in range(11)]
    assert answers == [401] * 10 + [429]
    await fetch_token(control, other)
    await fetch_token(control, guessed)
    assert (await ask_token(control, form))[0] == 429


async def test_each_role_does_what_it_may_and_is_told_what_it_may_not(
    control: ControlClient,
) -> None:
    reader = await fetch_token(control, await make_client(control, "reader"))
    scorer = await fetch_token(control, await make_client(control, "scorer"))
    writer = await fetch_token(control, await make_client(control, "contributor"))
    mine = await fetch_token(control, await make_client(control, "contributor", "flats"))
    refused = await as_bearer(control, reader, "PUT", EP, endpoint_body())
    assert (refused.status, refused.code) == (403, "Forbidden")
    assert b"onlineEndpoints/write" in refused.data
    assert b"reader" in refused.data

    assert (await as_bearer(control, writer, "PUT", EP, endpoint_body())).status == 201
    assert (await as_bearer(control, reader, "GET", EP)).status == 200
    assert (await as_bearer(control, reader, "POST", f"{EP}/listKeys")).status == 403
    assert (await as_bearer(control, scorer, "GET", EP)).status == 403
    assert (await as_bearer(control, writer, "GET", "/clients")).status == 403
    assert (await as_bearer(control, mine, "GET", EP)).status == 403
    own = await as_bearer(control, mine, "PUT", "/onlineEndpoints/Flats", endpoint_body())
    assert own.status == 201


async def test_a_deleted_client_is_out_at_once_though_its_token_is_good(
    control: ControlClient,
) -> None:
    client = await make_client(control, "owner")
    token = await fetch_token(control, client)
    assert (await as_bearer(control, token, "GET", "/clients")).status == 200
    assert (await control.send("DELETE", f"/clients/{client.id}")).status == 200
    assert (await as_bearer(control, token, "GET", "/clients")).status == 401
    assert (await control.send("DELETE", f"/clients/{client.id}")).status == 204


async def test_forged_expired_and_foreign_tokens_are_refused(control: ControlClient) -> None:
    client = await make_client(control, "owner")
    issuer = Issuer.open(control.home, control.base)
    stranger = Issuer(Ed25519PrivateKey.generate(), control.base)
    now_s, who = int(time.time()), {"name": "x", "audience": control.base}
    good = issuer.client_token(client.id, **who, now_s=now_s).text
    aml = issuer.endpoint_token("houses", epoch="", subject=client.id, now_s=now_s).text
    elsewhere = Issuer(issuer._key, "https://elsewhere").client_token(client.id, **who, now_s=now_s)
    tenant = {"iss": issuer.url, "tid": TENANT[:-1] + "2"}
    claims = Claims(
        subject=client.id, audience=control.base, issued_s=0, expires_s=now_s + 60, extra=tenant
    )
    bad = [
        stranger.client_token(client.id, **who, now_s=now_s).text,
        issuer.client_token(client.id, **who, now_s=now_s - 7200).text,
        issuer.client_token(client.id, name="x", audience="https://else", now_s=now_s).text,
        sign(claims, issuer._key),
        aml,
        elsewhere.text,
        good[:-4] + "AAAA",
        "a.b.c",
        "x" * 9000,
    ]
    assert (await as_bearer(control, good, "GET", "/clients")).status == 200
    for one in bad:
        assert (await as_bearer(control, one, "GET", "/clients")).status == 401, one


async def test_routes_carry_who_may_score_and_forget_who_was_deleted(
    control: ControlClient, nats_server: NatsServer
) -> None:
    await control.put(EP, endpoint_body("AADToken"))
    everywhere = await make_client(control, "scorer")
    here = await make_client(control, "owner", "houses")
    for role, endpoint in (("scorer", "flats"), ("reader", None)):
        await make_client(control, role, endpoint)
    bus = await Bus.connect(BusSettings(url=nats_server.url, name="test"))
    state = Bucket(bus, "state")

    async def callers_become(wanted: set[str]) -> None:
        async with asyncio.timeout(BOUND_S):
            while True:
                record = await state.get(route_key("houses"))
                if record and set(Route.decode(record.value).callers) == wanted:
                    return
                await asyncio.sleep(0.02)

    try:
        await callers_become({everywhere.id, here.id})
        await control.send("DELETE", f"/clients/{everywhere.id}")
        await callers_become({here.id})
    finally:
        await bus.close()


@pytest.mark.parametrize(
    "properties",
    [{}, {"role": "king"}, {"role": None}, {"role": "reader", "endpoint": "../x"}, {"role": 3}],
)
async def test_a_client_that_makes_no_sense_is_refused(
    control: ControlClient, properties: dict[str, Any]
) -> None:
    path = "/clients/11111111-2222-3333-4444-555555555555"
    assert (await control.put(path, {"properties": properties})).status == 400
    assert (await control.put("/clients/me", {"properties": {"role": "reader"}})).status == 400
    assert (await control.get("/clients")).json["value"] == []


async def test_a_stranger_s_broken_token_is_401_whatever_is_in_it(control: ControlClient) -> None:
    def part(text: str) -> str:
        return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()

    own = part(json.dumps({"iss": f"{control.base}/{TENANT}/v2.0"}))
    for header in ("[" * 5_700, '{"alg":' + "[" * 1_200, "[]", "{}"):
        token = f"{part(header)}.{own}.AA"
        assert (await as_bearer(control, token, "GET", "/models")).status == 401
