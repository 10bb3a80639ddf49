"""Signed bearer tokens: JWT with Ed25519, issued by control, verified wherever the public key is.

The platform's admin token is opaque and is not one of these.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from headrace_api.errors import Unauthorized

MAX_TOKEN_CHARS: Final = 8 * 1024
_HEADER: Final = {"alg": "EdDSA", "typ": "JWT"}


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
    header = _HEADER | ({"kid": key_id} if key_id else {})
    payload = claims.extra | {
        "sub": claims.subject,
        "aud": claims.audience,
        "iat": claims.issued_s,
        "exp": claims.expires_s,
    }
    signed = f"{_encode(json.dumps(header).encode())}.{_encode(json.dumps(payload).encode())}"
    return f"{signed}.{_encode(key.sign(signed.encode()))}"


def verify(token: str, public_key: Ed25519PublicKey, *, now_s: float) -> Claims:
    """Raises Unauthorized when the token is malformed, forged or expired; says which."""
    try:
        if len(token) > MAX_TOKEN_CHARS:
            raise ValueError("too long")
        signed, _, signature = token.rpartition(".")
        header, _, payload = signed.partition(".")
        if json.loads(_decode(header)).get("alg") != _HEADER["alg"]:
            raise ValueError("not EdDSA")
        public_key.verify(_decode(signature), signed.encode())
        fields = json.loads(_decode(payload))
        claims = _claims(fields)
    except InvalidSignature:
        raise Unauthorized("the token's signature is not ours") from None
    except (ValueError, KeyError, TypeError, AttributeError):
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


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
