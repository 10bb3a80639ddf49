"""Tokens of strangers: whatever comes, the answer is Unauthorized, and only whole tokens pass."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from headrace_api import jws
from headrace_api.errors import Unauthorized
from headrace_api.tokens import Claims, sign, verify
from headrace_api.trusted_issuer import TrustedIssuer, issuer_of, verify_trusted

KEY = Ed25519PrivateKey.generate()
CLAIMS = Claims(subject="s", audience="a", issued_s=1, expires_s=10, extra={"iss": "https://x"})
TOKEN = sign(CLAIMS, KEY, key_id="one")
ISSUER = TrustedIssuer(id="i", issuer="https://x", audience="a", algorithms=("RS256",))


def part(value: str | bytes) -> str:
    data = value.encode() if isinstance(value, str) else value
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


HEADER, PAYLOAD, SIGNATURE = TOKEN.split(".")
DEEP = "[" * 5_700


def with_header(header: str | bytes, signature: str = SIGNATURE) -> str:
    return f"{part(header)}.{PAYLOAD}.{signature}"


def with_claims(claims: str) -> str:
    return f"{HEADER}.{part(claims)}.{SIGNATURE}"


HOSTILE = {
    "nothing": "",
    "dots": "..",
    "one part": "abc",
    "four parts": TOKEN + ".x",
    "a deep header": with_header(DEEP, "AA"),
    "a header deep inside": with_header('{"alg":' + DEEP, "AA"),
    "a long header": with_header('{"alg":"EdDSA","x":"' + "y" * 4_000 + '"}'),
    "deep claims": with_claims(DEEP),
    "claims that are a list": with_claims("[]"),
    "a header that is a list": with_header("[]"),
    "no algorithm": with_header("{}"),
    "alg none": with_header('{"alg":"none"}', ""),
    "alg HS256": with_header('{"alg":"HS256"}'),
    "crit": with_header('{"alg":"EdDSA","crit":["x"]}'),
    "rubbish in the signature": f"{TOKEN[:-4]}!!!!{TOKEN[-4:]}",
    "a newline in the signature": f"{TOKEN[:-4]}\n{TOKEN[-4:]}",
    "another signature": f"{HEADER}.{PAYLOAD}.{part(bytes(64))}",
    "a short signature": f"{HEADER}.{PAYLOAD}.AA",
    "not UTF-8": with_header(bytes([255, 254])),
    "no ASCII": "é.é.é",
    "too long": f"{HEADER}.{'A' * jws.MAX_TOKEN_CHARS}.{SIGNATURE}",
}


@pytest.mark.parametrize("token", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_token_is_unauthorized_to_both_verifiers(token: str) -> None:
    with pytest.raises(Unauthorized):
        verify(token, KEY.public_key(), now_s=5)
    with pytest.raises(Unauthorized):
        verify_trusted(token, ISSUER, now_s=5)
    assert issuer_of(token) in ("", "https://x")


def test_a_whole_token_passes() -> None:
    assert verify(TOKEN, KEY.public_key(), now_s=5) == CLAIMS
    assert issuer_of(TOKEN) == "https://x"
    assert json.loads(base64.urlsafe_b64decode(HEADER + "=="))["kid"] == "one"
