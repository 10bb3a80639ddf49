"""Whether a caller may score: keys by digest, tokens by signature (azure_behaviour.md 4)."""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from headrace_api.errors import Forbidden, Unauthorized
from headrace_api.tokens import EPOCH, Claims, verify
from headrace_api.trusted_issuer import TrustedIssuer, issuer_of, verify_trusted
from headrace_bus.wire.route_record import Route

REMEMBERED_TOKENS: Final = 4096  # verified ones, so that a signature is not checked each time
REMEMBERED_S: Final = 300.0  # as often as the keys of outer issuers are fetched
_BEARER: Final = "bearer "
_FOREIGN: Final = "The token is not meant for this endpoint."


class _Verified(NamedTuple):
    """What a signature was good for."""

    expires_s: float
    again_s: float
    """When it is looked at anew, at the latest: keys may have gone."""
    issuers: tuple[TrustedIssuer, ...]
    """Those of the route it was checked by."""
    caller: str
    """As `Route.callers` names it; empty for a token that is the right itself."""

    def holds(self, route: Route, now_s: float) -> bool:
        """Whether nothing was withdrawn since. Most often the route is the same object."""
        known = self.issuers is route.issuers or self.issuers == route.issuers
        return known and now_s < self.again_s


class Credentials:
    """Checks the Authorization header of requests. One event loop, no locks."""

    def __init__(self) -> None:
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()

    def check(self, route: Route, authorization: str | None, now_s: float) -> None:
        """Return when the caller may score; `now_s` is Unix time.

        Raises Unauthorized for a credential that is not good, Forbidden for a good one whose holder
        has no right to score here.
        """
        if not authorization or authorization[:7].lower() != _BEARER:
            raise Unauthorized("The request has no bearer credential.")
        credential = authorization[7:].strip()
        if route.auth_mode == "key":
            if not _is_known(route, credential):
                raise Unauthorized("The key is not valid for this endpoint.")
        elif route.auth_mode != "aad_token" or not _is_known(route, credential):
            self._check_token(route, credential, now_s)

    def _check_token(self, route: Route, token: str, now_s: float) -> None:
        # Whatever a token is judged by, but for what is asked each time.
        known = (
            f"{route.auth_mode}\n{route.endpoint}\n{route.epoch}\n{route.token_public_key}\n{token}"
        )
        digest = hashlib.sha256(known.encode("utf-8", "surrogateescape")).digest()
        verified = self._verified.get(digest)
        if verified is None or not verified.holds(route, now_s):
            self._verified.pop(digest, None)
            verified = self._verified[digest] = _verify(route, token, now_s)
            if len(self._verified) > REMEMBERED_TOKENS:
                self._verified.popitem(last=False)
        if now_s >= verified.expires_s:
            raise Unauthorized("The token has expired.")
        # Asked each time: a signature stays good, the right to score is the newest route's.
        if verified.caller and verified.caller not in route.callers:
            raise Forbidden(
                "The action 'Microsoft.MachineLearningServices/workspaces/onlineEndpoints/score/"
                "action' is not allowed: none of the caller's roles covers this endpoint."
            )


def _is_known(route: Route, credential: str) -> bool:
    """Every digest is compared, each in constant time."""
    digest = hashlib.sha256(credential.encode("utf-8", "surrogateescape")).hexdigest()
    good = False
    for known in route.key_digests:
        good |= hmac.compare_digest(digest, known)
    return good


def _verify(route: Route, token: str, now_s: float) -> _Verified:
    if route.auth_mode == "aad_token":
        said = issuer_of(token)
        candidates = [one for one in route.issuers if one.issuer == said]
        if candidates:
            return _outer(route, candidates, token, now_s)
        return _client(route, token, now_s)
    claims = _own(route, token, now_s)
    if claims.audience != f"score:{route.endpoint}":
        raise Unauthorized(_FOREIGN)
    if not route.epoch:
        return _verified(route, claims, "", now_s)
    if claims.extra.get(EPOCH) != route.epoch:
        raise Unauthorized("The token is of an endpoint of this name that was deleted.")
    return _verified(route, claims, _holder(claims.subject), now_s)


def _holder(subject: str) -> str:
    """Who fetched an endpoint's token, as `Route.callers` names them; empty for the admin."""
    kind, _, rest = subject.partition(":")
    if kind == "issuer":
        return f"issuer:{rest.partition(':')[0]}"
    return rest if kind == "client" else ""


def _client(route: Route, token: str, now_s: float) -> _Verified:
    claims = _own(route, token, now_s)
    if claims.audience not in route.audiences:
        raise Unauthorized(_FOREIGN)
    return _verified(route, claims, claims.subject or "nobody", now_s)


def _verified(route: Route, claims: Claims, caller: str, now_s: float) -> _Verified:
    return _Verified(float(claims.expires_s), now_s + REMEMBERED_S, route.issuers, caller)


def _outer(route: Route, candidates: list[TrustedIssuer], token: str, now_s: float) -> _Verified:
    """The first entry for which the token is good; an issuer may have several."""
    refusal = Unauthorized(_FOREIGN)
    for trusted in candidates:
        try:
            claims = verify_trusted(token, trusted, now_s=now_s)
        except Unauthorized as error:
            refusal = error
            continue
        return _verified(route, claims, trusted.caller, now_s)
    raise refusal


def _own(route: Route, token: str, now_s: float) -> Claims:
    try:
        public_key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(route.token_public_key))
    except ValueError:
        raise Unauthorized("This endpoint does not accept tokens yet.") from None
    return verify(token, public_key, now_s=now_s)
