"""Whether a caller may score: keys by digest, tokens by signature (azure_behaviour.md 4)."""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from headrace_api.errors import Unauthorized
from headrace_api.tokens import verify
from headrace_bus.wire.route_record import Route

AAD_AUDIENCES: Final = frozenset({"https://ml.azure.com", "https://ml.azure.com/.default"})
REMEMBERED_TOKENS: Final = 4096  # verified ones, so that a signature is checked once
_BEARER: Final = "bearer "


class Credentials:
    """Checks the Authorization header of requests. One event loop, no locks."""

    def __init__(self) -> None:
        self._verified: OrderedDict[bytes, float] = OrderedDict()

    def check(self, route: Route, authorization: str | None, now_s: float) -> None:
        """Return when the caller may score; raises Unauthorized. `now_s` is Unix time."""
        if not authorization or authorization[:7].lower() != _BEARER:
            raise Unauthorized("The request has no bearer credential.")
        credential = authorization[7:].strip()
        if route.auth_mode == "key":
            self._check_key(route, credential)
        else:
            self._check_token(route, credential, now_s)

    def _check_key(self, route: Route, key: str) -> None:
        """Every digest is compared, each in constant time."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
        good = False
        for known in route.key_digests:
            good |= hmac.compare_digest(digest, known)
        if not good:
            raise Unauthorized("The key is not valid for this endpoint.")

    def _check_token(self, route: Route, token: str, now_s: float) -> None:
        known = f"{route.auth_mode}\n{route.endpoint}\n{route.token_public_key}\n{token}"
        digest = hashlib.sha256(known.encode("utf-8", "surrogateescape")).digest()
        expires_s = self._verified.get(digest)
        if expires_s is None:
            expires_s = _verified_until(route, token, now_s)
            self._verified[digest] = expires_s
            if len(self._verified) > REMEMBERED_TOKENS:
                self._verified.popitem(last=False)
        if now_s >= expires_s:
            raise Unauthorized("The token has expired.")


def _verified_until(route: Route, token: str, now_s: float) -> float:
    try:
        public_key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(route.token_public_key))
    except ValueError:
        raise Unauthorized("No token is accepted at this endpoint yet.") from None
    claims = verify(token, public_key, now_s=now_s)
    if not _AUDIENCE[route.auth_mode](route, claims.audience):
        raise Unauthorized("The token is not meant for this endpoint.")
    return float(claims.expires_s)


_AUDIENCE: Final[dict[str, Callable[[Route, str], bool]]] = {
    "aml_token": lambda route, audience: audience == f"score:{route.endpoint}",
    "aad_token": lambda _, audience: audience in AAD_AUDIENCES,
}
