"""The issuer of endpoints' tokens (`aml_token`): an Ed25519 key of this installation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from headrace_api.home import Home
from headrace_api.tokens import Claims, sign
from headrace_services.private_files import read_or_create

TOKEN_LIFETIME_S: Final = 12 * 3600
REFRESH_AFTER_S: Final = 6 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedToken:
    """What `POST .../token` answers; times are Unix seconds."""

    text: str
    expires_s: int
    refresh_after_s: int


class Issuer:
    """Signs tokens that every ingress can verify with the public key in the route."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def open(cls, home: Home) -> Issuer:
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
        return cls(key)

    @property
    def public_key(self) -> str:
        """In hex, as `Route.token_public_key` carries it."""
        return self._key.public_key().public_bytes_raw().hex()

    def endpoint_token(self, endpoint: str, *, subject: str, now_s: int) -> IssuedToken:
        """A token whose holder may score at this endpoint and do nothing else."""
        claims = Claims(
            subject=subject,
            audience=f"score:{endpoint}",
            issued_s=now_s,
            expires_s=now_s + TOKEN_LIFETIME_S,
            extra={},
        )
        return IssuedToken(
            text=sign(claims, self._key),
            expires_s=claims.expires_s,
            refresh_after_s=now_s + REFRESH_AFTER_S,
        )
