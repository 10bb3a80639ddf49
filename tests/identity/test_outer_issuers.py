"""Issuers the owner trusts: a real one on this machine, with keys of its own."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from headrace_api.errors import Forbidden, Unauthorized
from headrace_api.tokens import Claims
from headrace_api.trusted_issuer import TrustedIssuer, usable_keys, verify_trusted
from headrace_bus.wire.route_record import Route
from headrace_services.control.identity.issuer_fetch import IssuerFetch, IssuerUnreachable
from headrace_services.ingress.credentials import REMEMBERED_S, Credentials
from support.control import ControlClient
from support.identity import OuterIssuer, OuterKeys, as_bearer, encode, outer_issuer

KEYS = OuterKeys()
TRUSTED = TrustedIssuer(
    id="one",
    issuer="https://idp.example",
    audience="us",
    algorithms=("RS256", "ES256"),
    keys=usable_keys(KEYS.jwks, ("RS256", "ES256")),
)
CLAIMS = {"iss": TRUSTED.issuer, "aud": "us", "sub": "ann", "exp": 1000}


def body(outer: OuterIssuer, **more: Any) -> dict[str, Any]:
    known = {"issuer": outer.url, "audience": "us", "caCertificate": outer.ca}
    return {"properties": {**known, "algorithms": ["RS256", "ES256"], **more}}


def route(*, callers: tuple[str, ...] = (TRUSTED.caller,)) -> Route:
    return Route(endpoint="houses", auth_mode="aad_token", callers=callers, issuers=(TRUSTED,))


async def test_control_takes_the_tokens_of_an_issuer_until_it_is_deleted(
    control: ControlClient, tmp_path: Path
) -> None:
    async with outer_issuer(tmp_path / "idp") as issuer:
        path = f"/issuers/{uuid4()}"
        made = await control.put(path, body(issuer, role="reader", subject="ann"))
        assert made.status == 201, made.data
        claims = {"iss": issuer.url, "aud": ["x", "us"], "sub": "ann", "exp": time.time() + 60}
        for algorithm in ("RS256", "ES256"):
            token = issuer.keys.sign(claims, algorithm)
            assert (await as_bearer(control, token, "GET", "/models")).status == 200
            assert (await as_bearer(control, token, "GET", "/clients")).status == 403
        for wrong in ({"sub": "bob"}, {"aud": "them"}, {"exp": time.time() - 90}):
            token = issuer.keys.sign(claims | wrong)
            assert (await as_bearer(control, token, "GET", "/models")).status == 401
        token = issuer.keys.sign(claims)
        assert (await control.send("DELETE", path)).status == 200
        assert (await as_bearer(control, token, "GET", "/models")).status == 401


async def test_an_issuer_that_cannot_be_used_is_refused_and_not_kept(
    control: ControlClient, tmp_path: Path
) -> None:
    async with outer_issuer(tmp_path / "idp") as issuer:
        wrong: list[dict[str, Any]] = [
            {"issuer": issuer.url.replace("https", "http")},
            {"issuer": f"{issuer.url}/elsewhere"},
            {"caCertificate": None},
            {"caCertificate": "nonsense"},
            {"caCertificate": "nonsénse"},  # ssl takes ASCII only
            {"algorithms": ["HS256"]},
            {"algorithms": []},
            {"audience": ""},
            {"role": "king"},
        ]
        for one in wrong:
            reply = await control.put(f"/issuers/{uuid4()}", body(issuer, **one))
            assert reply.status == 400, (one, reply.data)
        issuer.jwks = {"keys": [{"kty": "oct", "k": "AAAA"}]}
        assert (await control.put(f"/issuers/{uuid4()}", body(issuer))).status == 400
    assert (await control.get("/issuers")).json["value"] == []


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "10.0.0.1", "[::ffff:127.0.0.1]"],
)
async def test_addresses_inside_are_not_called_unless_allowed(host: str) -> None:
    with pytest.raises(IssuerUnreachable, match="private address"):
        await IssuerFetch().keys(f"https://{host}:9", ("RS256",))


def test_the_ingress_takes_a_good_token_and_no_other() -> None:
    Credentials().check(route(), f"Bearer {KEYS.sign(CLAIMS)}", 999.0)
    Credentials().check(route(), f"Bearer {KEYS.sign(CLAIMS, 'ES256')}", 0.0)
    unsigned = f"{encode({'alg': 'none'})}.{encode(CLAIMS)}."
    bad = [
        OuterKeys().sign(CLAIMS),
        OuterKeys().sign(CLAIMS, "ES256"),
        KEYS.sign(CLAIMS | {"aud": "them"}),
        KEYS.sign(CLAIMS | {"iss": "https://other.example"}),
        KEYS.sign({"iss": TRUSTED.issuer, "aud": "us", "sub": "ann"}),
        KEYS.sign(CLAIMS | {"exp": -100}),
        KEYS.sign(CLAIMS | {"nbf": 500}),
        unsigned,
        "a.b.c",
    ]
    for token in bad:
        with pytest.raises(Unauthorized):
            Credentials().check(route(), f"Bearer {token}", 0.0)


def test_a_token_whose_key_was_withdrawn_is_out_with_the_next_route() -> None:
    """Whether it was checked before or not, and whatever else the next route says."""
    credentials, token = Credentials(), f"Bearer {KEYS.sign(CLAIMS)}"
    credentials.check(route(), token, 0.0)
    other = usable_keys(OuterKeys().jwks, TRUSTED.algorithms)
    withdrawn = replace(route(), issuers=(replace(TRUSTED, keys=other),))

    with pytest.raises(Unauthorized):
        credentials.check(withdrawn, token, 1.0)
    with pytest.raises(Unauthorized):
        credentials.check(replace(route(), issuers=()), token, 1.0)
    credentials.check(route(), token, 2.0)


def test_a_signature_is_checked_once_and_again_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked: list[float] = []
    verify = verify_trusted

    def counted(token: str, trusted: TrustedIssuer, *, now_s: float) -> Claims:
        checked.append(now_s)
        return verify(token, trusted, now_s=now_s)

    monkeypatch.setattr("headrace_services.ingress.credentials.verify_trusted", counted)
    credentials, token = Credentials(), f"Bearer {KEYS.sign(CLAIMS)}"
    for now_s in (0.0, 1.0, REMEMBERED_S - 1, REMEMBERED_S, REMEMBERED_S + 1):
        credentials.check(route(), token, now_s)

    assert checked == [0.0, REMEMBERED_S]


def test_an_issuer_without_a_role_here_does_not_score() -> None:
    with pytest.raises(Forbidden):
        Credentials().check(route(callers=()), f"Bearer {KEYS.sign(CLAIMS)}", 0.0)


def test_a_route_with_issuers_is_read_back_as_it_was_written() -> None:
    assert Route.decode(route().encode()) == route()


@pytest.mark.parametrize(
    "document",
    [
        None,
        {},
        {"keys": 3},
        {"keys": [{}]},
        {"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]},
        {"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]},
    ],
)
def test_keys_that_cannot_verify_are_not_taken(document: object) -> None:
    with pytest.raises(ValueError, match="key"):
        usable_keys(document, ("RS256", "ES256"))
