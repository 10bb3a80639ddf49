"""Who is calling: the admin's token, a client's of our issuer, or one of an issuer we trust."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from headrace_api.errors import Unauthorized
from headrace_api.home import Home
from headrace_api.private_files import read_or_create
from headrace_api.trusted_issuer import issuer_of, verify_trusted
from headrace_services.control.identity.access import assignment, granted_audiences, trusted
from headrace_services.control.identity.issuer import Issuer
from headrace_state.records import (
    Client,
    IssuerKeys,
    OuterIssuer,
    client_key,
    issuer_keys_key,
)
from headrace_state.repository import Repository, readable
from headrace_state.roles import Principal, Role, RoleAssignment

TOKEN_BYTES: Final = 32
MAX_HEADER_CHARS: Final = 16 * 1024
_SCHEME: Final = "bearer "
_NOT_OURS: Final = "the bearer token was not issued by this installation"


ADMIN: Final = Principal(name="admin", roles=(RoleAssignment(role=Role.OWNER),))


def ensure_admin_token(home: Home) -> str:
    """Return the token in `<home>/token`; make it (0600) when there is none."""
    fresh = secrets.token_urlsafe(TOKEN_BYTES) + "\n"
    return read_or_create(home.token, fresh.encode()).decode().strip()


def token_digest(token: str) -> str:
    """SHA-256 in hex; tokens and secrets are random, so that it tells nothing."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Authenticator:
    """Judges `Authorization` headers. Holds the digest of the admin's token, not the token.

    Clients and issuers are looked up for each call: what is deleted is out at once.
    """

    admin_digest: str
    issuer: Issuer
    control_url: str
    clients: Repository[Client]
    issuers: Repository[OuterIssuer]
    issuer_keys: Repository[IssuerKeys]
    now_s: Callable[[], float] = time.time

    async def authenticate(self, header: str) -> Principal:
        """Raises Unauthorized."""
        if not header:
            raise Unauthorized("no bearer token", hint="send 'Authorization: Bearer <token>'")
        if len(header) > MAX_HEADER_CHARS or not header.lower().startswith(_SCHEME):
            raise Unauthorized("the Authorization header contains no bearer token")
        token = header[len(_SCHEME) :].strip()
        if hmac.compare_digest(token_digest(token), self.admin_digest):
            return ADMIN
        said = issuer_of(token)
        if said == self.issuer.url:
            return await self._client(token)
        return await self._outer(token, said)

    async def _client(self, token: str) -> Principal:
        claims = self.issuer.verify_client(token, now_s=self.now_s())
        if claims.audience not in granted_audiences(self.control_url):
            raise Unauthorized(f"the token is for {claims.audience!r}, not for this API")
        found = readable(await self.clients.present(client_key(claims.subject)))
        if found is None:
            words = "the client of this token has been deleted, or its record cannot be read"
            raise Unauthorized(words, target=claims.subject)
        return Principal(name=f"client:{found.value.id}", roles=(assignment(found.value),))

    async def _outer(self, token: str, said: str) -> Principal:
        """The first issuer of that name for which the token is good; several may differ in role."""
        refusal = Unauthorized(_NOT_OURS, hint="`headrace token` prints the admin's")
        if not said:
            raise refusal
        for stored in await self.issuers.list("issuer."):
            if stored.value.issuer != said:
                continue
            keys = readable(await self.issuer_keys.present(issuer_keys_key(stored.value.id)))
            judge = trusted(stored.value, keys.value if keys else None)
            try:
                claims = verify_trusted(token, judge, now_s=self.now_s())
            except Unauthorized as error:
                refusal = error
                continue
            name = f"{judge.caller}:{claims.subject[:128]}"
            return Principal(name=name, roles=(assignment(stored.value),))
        raise refusal
