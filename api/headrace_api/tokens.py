"""Signed bearer tokens: JWT with Ed25519, issued by control, verified wherever the public key is.

The platform's admin token is opaque and is not one of these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from headrace_api import jws
from headrace_api.errors import Unauthorized

EPOCH: Final = "epoch"
"""The claim of an endpoint's token that says for which life of the endpoint it is good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a token says of its holder."""

    subject: str
    audience: str
    """`score:<endpoint>` for an endpoint's aml_token; a scope for an issuer's token."""
    issued_s: int
    expires_s: int
    extra: dict[str, Any]


def sign(claims: Claims, key: Ed25519PrivateKey, *, key_id: str = "") -> str:
    """Return the compact JWT; `key_id` is its `kid`, for who looks the key up."""
    payload = claims.extra | {
        "sub": claims.subject,
        "aud": claims.audience,
        "iat": claims.issued_s,
        "exp": claims.expires_s,
    }
    return jws.signed(payload, key, key_id=key_id)


def verify(token: str, public_key: Ed25519PublicKey, *, now_s: float) -> Claims:
    """Raises Unauthorized when the token is malformed, forged or expired; says which."""
    try:
        claims = _claims(jws.verified(token, public_key, jws.EDDSA))
    except jws.Forged:
        raise Unauthorized("the token's signature is not ours") from None
    except (ValueError, KeyError, TypeError, OverflowError):
        raise Unauthorized("the token is malformed") from None
    if now_s >= claims.expires_s:
        raise Unauthorized("the token has expired", hint="fetch a new one")
    return claims


def _claims(fields: dict[str, Any]) -> Claims:
    known = {"sub", "aud", "iat", "exp"}
    return Claims(
        subject=str(fields["sub"]),
        audience=str(fields["aud"]),
        issued_s=int(fields["iat"]),
        expires_s=int(fields["exp"]),
        extra={name: value for name, value in fields.items() if name not in known},
    )
