"""Who is calling: the admin's bearer token, made on first start and compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Final

from headrace_api.errors import Unauthorized
from headrace_api.home import Home
from headrace_services.private_files import read_or_create

TOKEN_BYTES: Final = 32
MAX_HEADER_CHARS: Final = 16 * 1024
_SCHEME: Final = "bearer "


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The caller, as audit lines and `createdBy` name it."""

    name: str


ADMIN: Final = Principal(name="admin")


def ensure_admin_token(home: Home) -> str:
    """Return the token in `<home>/token`; make it (0600) when there is none."""
    fresh = secrets.token_urlsafe(TOKEN_BYTES) + "\n"
    return read_or_create(home.token, fresh.encode()).decode().strip()


class Authenticator:
    """Judges `Authorization` headers. Holds the digest of the token, not the token."""

    def __init__(self, admin_token: str) -> None:
        self._admin_digest = _digest(admin_token)

    def authenticate(self, header: str) -> Principal:
        """Raises Unauthorized."""
        if not header:
            raise Unauthorized("no bearer token", hint="send 'Authorization: Bearer <token>'")
        if len(header) > MAX_HEADER_CHARS or not header.lower().startswith(_SCHEME):
            raise Unauthorized("the Authorization header holds no bearer token")
        presented = _digest(header[len(_SCHEME) :].strip())
        if hmac.compare_digest(presented, self._admin_digest):
            return ADMIN
        raise Unauthorized(
            "the bearer token is not one of ours", hint="`headrace token` prints the admin's"
        )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
