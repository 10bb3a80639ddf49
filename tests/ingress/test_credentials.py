"""Who may score: keys by digest, tokens of our issuer for this endpoint only."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from headrace_api.errors import Forbidden, Unauthorized
from headrace_api.tokens import Claims, sign
from headrace_services.control.identity.issuer import Issuer
from headrace_services.ingress.credentials import Credentials
from support.ingress_world import KEY, make_route

ISSUER = Ed25519PrivateKey.generate()
FOR_ME: dict[str, Any] = {"audiences": ("https://ml.azure.com",), "callers": ("me",)}
PUBLIC = ISSUER.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def token(audience: str, *, key: Ed25519PrivateKey = ISSUER, expires_s: int = 1000) -> str:
    claims = Claims(subject="me", audience=audience, issued_s=0, expires_s=expires_s, extra={})
    return f"Bearer {sign(claims, key)}"


def test_both_keys_are_good_and_nothing_else_is() -> None:
    credentials, route = Credentials(), make_route()
    credentials.check(route, f"bearer {KEY}", 0.0)

    for bad in (None, "", KEY, "Bearer", "Bearer ", "Basic abc", f"Bearer {KEY}x", "Bearer \udcff"):
        with pytest.raises(Unauthorized):
            credentials.check(route, bad, 0.0)


@pytest.mark.parametrize(
    ("mode", "audience"), [("aml_token", "score:houses"), ("aad_token", "https://ml.azure.com")]
)
def test_a_token_is_good_for_its_audience_until_it_expires(mode: str, audience: str) -> None:
    credentials = Credentials()
    route = replace(make_route(auth_mode=mode, token_public_key=PUBLIC), **FOR_ME)
    good = token(audience)
    for now_s in (0.0, 999.0):
        credentials.check(route, good, now_s)

    forged = token(audience, key=Ed25519PrivateKey.generate())
    for bad, now_s in ((good, 1000.0), (token("score:flats"), 0.0), (forged, 0.0)):
        with pytest.raises(Unauthorized):
            credentials.check(route, bad, now_s)


def endpoint_token(subject: str, epoch: str) -> str:
    issued = Issuer(ISSUER).endpoint_token("houses", epoch=epoch, subject=subject, now_s=0)
    return f"Bearer {issued.text}"


@pytest.mark.parametrize(
    ("subject", "callers"),
    [("client:me", ("me",)), ("issuer:corp:somebody", ("issuer:corp",)), ("admin", ())],
)
def test_an_endpoint_s_token_ends_with_the_endpoint_and_with_who_fetched_it(
    subject: str, callers: tuple[str, ...]
) -> None:
    credentials, good = Credentials(), endpoint_token(subject, "first")
    base = make_route(auth_mode="aml_token", token_public_key=PUBLIC)
    route = replace(base, epoch="first", callers=callers)
    credentials.check(route, good, 0.0)
    credentials.check(base, good, 0.0)  # compiled by a control that knew of no epochs

    for one in (credentials, Credentials()):
        with pytest.raises(Unauthorized, match="was deleted"):
            one.check(replace(route, epoch="second"), good, 0.0)
        if callers:
            with pytest.raises(Forbidden):
                one.check(replace(route, callers=("other",)), good, 0.0)


def test_a_token_without_a_known_issuer_is_refused() -> None:
    with pytest.raises(Unauthorized):
        Credentials().check(make_route(auth_mode="aml_token"), token("score:houses"), 0.0)


def test_a_caller_who_lost_the_right_is_out_with_the_next_route_although_the_token_is_good() -> (
    None
):
    credentials, good = Credentials(), token("https://ml.azure.com")
    before = replace(make_route(auth_mode="aad_token", token_public_key=PUBLIC), **FOR_ME)
    credentials.check(before, good, 0.0)

    after = replace(before, callers=("you",))
    for one in (credentials, Credentials()):
        with pytest.raises(Forbidden, match="score/action"):
            one.check(after, good, 0.0)


def test_the_admins_own_token_scores_where_the_route_knows_its_digest() -> None:
    digest = hashlib.sha256(b"admin").hexdigest()
    route = replace(make_route(auth_mode="aad_token"), key_digests=(digest,))
    Credentials().check(route, "Bearer admin", 0.0)

    with pytest.raises(Unauthorized):
        Credentials().check(route, "Bearer admin2", 0.0)
