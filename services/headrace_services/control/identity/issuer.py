"""The issuer of endpoints' tokens (`aml_token`) and of clients' (`aad_token`): one Ed25519 key."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from headrace_api.errors import Unauthorized
from headrace_api.home import Home
from headrace_api.private_files import read_or_create
from headrace_api.tokens import EPOCH, Claims, sign, verify

TOKEN_LIFETIME_S: Final = 12 * 3600
REFRESH_AFTER_S: Final = 6 * 3600
CLIENT_TOKEN_LIFETIME_S: Final = 3600
TENANT: Final = "00000000-0000-0000-0000-000000000001"
"""One installation is one tenant; clients want a GUID."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedToken:
    """What `POST .../token` answers; times are Unix seconds."""

    text: str
    expires_s: int
    refresh_after_s: int


class Issuer:
    """Signs tokens that every ingress can verify with the public key in the route."""

    def __init__(self, key: Ed25519PrivateKey, control_url: str = "") -> None:
        self._key = key
        self.url = f"{control_url}/{TENANT}/v2.0"
        """What clients' tokens carry in `iss`."""

    @classmethod
    def open(cls, home: Home, control_url: str = "") -> Issuer:
        """Read `<home>/tls/issuer.key`; make it on the first start.

        Raises ValueError when the file is not such a key.
        """
        fresh = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        stored = read_or_create(home.tls / "issuer.key", fresh)
        key = serialization.load_pem_private_key(stored, password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError(f"{home.tls / 'issuer.key'} is not an Ed25519 key")
        return cls(key, control_url)

    @property
    def public_key(self) -> str:
        """In hex, as `Route.token_public_key` carries it."""
        return self._key.public_key().public_bytes_raw().hex()

    @property
    def key_id(self) -> str:
        return hashlib.sha256(self._key.public_key().public_bytes_raw()).hexdigest()[:16]

    @property
    def jwk(self) -> dict[str, str]:
        """The public key as RFC 8037 writes it."""
        raw = base64.urlsafe_b64encode(self._key.public_key().public_bytes_raw())
        return {
            "kty": "OKP",
            "crv": "Ed25519",
            "alg": "EdDSA",
            "use": "sig",
            "kid": self.key_id,
            "x": raw.rstrip(b"=").decode(),
        }

    def client_token(self, client_id: str, *, name: str, audience: str, now_s: int) -> IssuedToken:
        """A token that says who the holder is; what they may do is looked up, so it can end."""
        who: dict[str, Any] = {
            "iss": self.url,
            "tid": TENANT,
            "oid": client_id,
            "appid": client_id,
            "azp": client_id,
            "app_displayname": name,
            "idtyp": "app",
            "nbf": now_s,
            "ver": "2.0",
        }
        claims = Claims(
            subject=client_id,
            audience=audience,
            issued_s=now_s,
            expires_s=now_s + CLIENT_TOKEN_LIFETIME_S,
            extra=who,
        )
        return IssuedToken(
            text=sign(claims, self._key, key_id=self.key_id),
            expires_s=claims.expires_s,
            refresh_after_s=claims.expires_s,
        )

    def verify_client(self, token: str, *, now_s: float) -> Claims:
        """Raises Unauthorized when it is not ours, has expired, or is an endpoint's token."""
        claims = verify(token, self._key.public_key(), now_s=now_s)
        if claims.extra.get("iss") != self.url or claims.extra.get("tid") != TENANT:
            raise Unauthorized("the token is not one for clients of this installation")
        return claims

    def endpoint_token(self, endpoint: str, *, epoch: str, subject: str, now_s: int) -> IssuedToken:
        """A token whose holder may score at this endpoint and do nothing else.

        It is good for one life of the endpoint, its `epoch`, and while `subject` may score.
        """
        claims = Claims(
            subject=subject,
            audience=f"score:{endpoint}",
            issued_s=now_s,
            expires_s=now_s + TOKEN_LIFETIME_S,
            extra={EPOCH: epoch},
        )
        return IssuedToken(
            text=sign(claims, self._key),
            expires_s=claims.expires_s,
            refresh_after_s=now_s + REFRESH_AFTER_S,
        )
