"""Compact signed tokens (RFC 7515), read strictly: PyJWT takes them apart and checks the signature.

Everything here happens before anybody is known, so each bound comes first.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

MAX_TOKEN_CHARS: Final = 8 * 1024
MAX_HEADER_CHARS: Final = 2 * 1024  # of the encoded header; ours has under 100
EDDSA: Final = "EdDSA"

PublicKey = Ed25519PublicKey | EllipticCurvePublicKey | RSAPublicKey

_JWS: Final = jwt.PyJWS(algorithms=[EDDSA, "ES256", "RS256"])


class Malformed(ValueError):
    """No compact token, or one of an algorithm that is not asked for."""


class Forged(Malformed):
    """The signature is not that of the key."""


def header_of(token: str, algorithms: Sequence[str]) -> dict[str, Any]:
    """The header of a token that one of these algorithms may have signed. Raises Malformed."""
    if len(token) > MAX_TOKEN_CHARS or token.find(".") > MAX_HEADER_CHARS:
        raise Malformed("the token is too long")
    try:
        header = _JWS.get_unverified_header(token)
    except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
        raise Malformed(f"the header cannot be read: {error}") from error
    if header.get("crit") or header.get("alg") not in algorithms:
        raise Malformed(f"the token is not signed by {', '.join(algorithms)}")
    return header


def verified(token: str, key: PublicKey, algorithm: str) -> dict[str, Any]:
    """The claims of a token that this key has signed. Raises Forged, Malformed."""
    header_of(token, (algorithm,))
    try:
        payload = _JWS.decode(token, key, algorithms=[algorithm])
    except jwt.InvalidSignatureError as error:
        raise Forged("the signature is not that of the key") from error
    except (jwt.InvalidTokenError, ValueError, TypeError, RecursionError) as error:
        raise Malformed(f"the token cannot be read: {error}") from error
    return _object(payload)


def unverified(token: str) -> dict[str, Any]:
    """What a token claims, to find out whom to ask for its key. Raises Malformed."""
    header_of(token, (EDDSA, "ES256", "RS256"))
    try:
        payload = _JWS.decode(token, options={"verify_signature": False})
    except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
        raise Malformed(f"the token cannot be read: {error}") from error
    return _object(payload)


def signed(claims: dict[str, Any], key: Ed25519PrivateKey, *, key_id: str = "") -> str:
    """The compact token; `key_id` is its `kid`, for whoever looks the key up."""
    headers = {"kid": key_id} if key_id else None
    return _JWS.encode(json.dumps(claims).encode(), key, algorithm=EDDSA, headers=headers)


def _object(payload: bytes) -> dict[str, Any]:
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"the claims cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise Malformed("the claims are no object")
    return found
