"""Tokens of OIDC issuers that the owner trusts: RS256 and ES256, keys as the issuer publishes them.

Pure: control fetches the keys, whoever has them verifies. RFC 7515, 7517, 7518; OIDC Core 3.1.3.7.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from headrace_api import jws
from headrace_api.errors import Unauthorized
from headrace_api.tokens import Claims

ALGORITHMS: Final = {"RS256": "RSA", "ES256": "EC"}
"""What may sign, with the type of its keys."""
MAX_KEYS: Final = 64
RSA_BITS: Final = range(2048, 8193)
CLOCK_SKEW_S: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedIssuer:
    """All that is needed to judge a token of one issuer."""

    id: str
    issuer: str
    """Exactly as tokens carry it in `iss`."""
    audience: str
    algorithms: tuple[str, ...]
    subject: str = ""
    """Only tokens of this `sub` are good; empty takes every subject."""
    keys: str = ""
    """The issuer's JSON Web Keys as a JSON array; empty when none could be fetched."""

    @property
    def caller(self) -> str:
        """How routes and audit lines name whoever comes with its tokens."""
        return f"issuer:{self.id}"


def usable_keys(document: object, algorithms: tuple[str, ...]) -> str:
    """The signing keys of a JWKS document, reduced to what verification needs.

    Raises ValueError when there is none.
    """
    found = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(found, list):
        raise ValueError("the document has no 'keys' list")
    kinds = {ALGORITHMS[one] for one in algorithms}
    kept = [
        {
            name: one[name]
            for name in ("kty", "kid", "alg", "n", "e", "crv", "x", "y")
            if name in one
        }
        for one in found[:MAX_KEYS]
        if isinstance(one, dict) and one.get("kty") in kinds and one.get("use", "sig") == "sig"
    ]
    good = [one for one in kept if _is_usable(one)]
    if not good:
        raise ValueError(f"it contains no signing key for {', '.join(algorithms)}")
    return json.dumps(good, sort_keys=True)


def issuer_of(token: str) -> str:
    """What the token says in `iss`, before anything is verified; empty when it says nothing."""
    try:
        return str(jws.unverified(token).get("iss", ""))
    except jws.Malformed:
        return ""


def verify_trusted(token: str, trusted: TrustedIssuer, *, now_s: float) -> Claims:
    """Raises Unauthorized when the token is malformed, forged, expired or not meant for us."""
    try:
        header = jws.header_of(token, trusted.algorithms)
        return _judged(_claims_of(token, header, trusted), trusted, now_s)
    except jws.Forged:
        raise Unauthorized(f"the signature is not that of {trusted.issuer}") from None
    except jws.Malformed as error:
        raise Unauthorized(f"the token is malformed: {error}") from None
    except (ValueError, KeyError, TypeError, OverflowError):
        raise Unauthorized("the token is malformed") from None


def _judged(fields: dict[str, Any], trusted: TrustedIssuer, now_s: float) -> Claims:
    audience = fields.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if fields["iss"] != trusted.issuer or trusted.audience not in audiences:
        raise Unauthorized("the token is from another issuer or for another audience")
    if trusted.subject and fields.get("sub") != trusted.subject:
        raise Unauthorized("the token's subject has no role here")
    expires_s = int(fields["exp"]) + CLOCK_SKEW_S
    if now_s >= expires_s:
        raise Unauthorized("the token has expired", hint="fetch a new one")
    if now_s < int(fields.get("nbf", 0)) - CLOCK_SKEW_S:
        raise Unauthorized("the token is not valid yet")
    return Claims(
        subject=str(fields["sub"]),
        audience=trusted.audience,
        issued_s=int(fields.get("iat", 0)),
        expires_s=expires_s,
        extra={},
    )


def _claims_of(token: str, header: Mapping[str, Any], trusted: TrustedIssuer) -> dict[str, Any]:
    """Raises jws.Forged when no key fits; a token that names a key is tried with that one."""
    kid, algorithm = header.get("kid"), header["alg"]
    for key in json.loads(trusted.keys or "[]"):
        fits = key["kty"] == ALGORITHMS[algorithm] and key.get("alg", algorithm) == algorithm
        if not fits or (kid is not None and key.get("kid", kid) != kid):
            continue
        try:
            return jws.verified(token, _public_key(key), algorithm)
        except jws.Forged:
            continue
    raise jws.Forged("no key fits")


def _public_key(key: Mapping[str, str]) -> jws.PublicKey:
    return _rsa_key(key) if key["kty"] == "RSA" else _ec_key(key)


def _rsa_key(key: Mapping[str, str]) -> rsa.RSAPublicKey:
    numbers = rsa.RSAPublicNumbers(e=_number(key["e"]), n=_number(key["n"]))
    # Shorter ones are weak, and longer ones cost seconds of whoever verifies.
    if numbers.n.bit_length() not in RSA_BITS or numbers.e.bit_length() > RSA_BITS.start // 32:
        raise ValueError("an RSA key of this size is not accepted")
    return numbers.public_key()


def _ec_key(key: Mapping[str, str]) -> ec.EllipticCurvePublicKey:
    if key["crv"] != "P-256":
        raise ValueError("ES256 needs a key on P-256")
    x, y = _number(key["x"]), _number(key["y"])
    return ec.EllipticCurvePublicNumbers(x=x, y=y, curve=ec.SECP256R1()).public_key()


def _is_usable(key: Mapping[str, str]) -> bool:
    try:
        _public_key(key)
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    return True


def _number(text: str) -> int:
    """A Base64urlUInt (RFC 7518 2). Raises ValueError."""
    padded = text + "=" * (-len(text) % 4)
    return int.from_bytes(base64.b64decode(padded, altchars=b"-_", validate=True))
