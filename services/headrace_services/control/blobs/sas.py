"""Shared access signatures of the blob wire: an HMAC over container, permissions and expiry.

Only genuine SAS query names may appear, or the SDK takes the string for an account key
(azure_rest.md 3.1). The signature is ours: nobody but control makes or checks it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Final
from urllib.parse import urlencode

from headrace_api.errors import HeadraceError
from headrace_api.home import Home
from headrace_api.private_files import read_or_create

VERSION: Final = "2024-11-04"
READ_WRITE: Final = "racwdl"
KEY_BYTES: Final = 32
MAX_LIFETIME: Final = timedelta(days=7)
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


class SasRefused(HeadraceError):
    """The signature is missing, forged, expired, or not for this container or action."""

    code: ClassVar[str] = "AuthenticationFailed"
    status: ClassVar[int] = 403


@dataclass(frozen=True, slots=True, kw_only=True)
class _Terms:
    container: str
    permissions: str
    expiry: str
    version: str

    def signed_by(self, key: bytes) -> str:
        text = "\n".join((self.container, self.permissions, self.expiry, self.version))
        return base64.b64encode(hmac.digest(key, text.encode(), hashlib.sha256)).decode()


class SasSigner:
    """Makes and checks signatures with the key of this installation."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def open(cls, home: Home) -> SasSigner:
        """Read `<home>/tls/sas.key`; make it on the first start."""
        return cls(read_or_create(home.tls / "sas.key", secrets.token_bytes(KEY_BYTES)))

    def sign(
        self, container: str, *, now: datetime, lifetime: timedelta, permissions: str = READ_WRITE
    ) -> str:
        """Return the query string, without `?`, for one container."""
        expiry = (now + min(lifetime, MAX_LIFETIME)).astimezone(UTC).strftime(_TIME)
        terms = _Terms(container=container, permissions=permissions, expiry=expiry, version=VERSION)
        return urlencode(
            {
                "sv": VERSION,
                "sr": "c",
                "sp": permissions,
                "se": expiry,
                "sig": terms.signed_by(self._key),
            }
        )

    def check(self, query: Mapping[str, str], *, container: str, needs: str, now: datetime) -> None:
        """Raises SasRefused unless one permission of `needs` is granted on the container."""
        terms = _Terms(
            container=container,
            permissions=query.get("sp", ""),
            expiry=query.get("se", ""),
            version=query.get("sv", ""),
        )
        given = query.get("sig", "").encode("utf-8", "replace")
        if not hmac.compare_digest(given, terms.signed_by(self._key).encode()):
            raise SasRefused(
                "the signature does not match this container, its terms or this installation's key"
            )
        expires = datetime.strptime(terms.expiry, _TIME).replace(tzinfo=UTC)
        if now >= expires:
            raise SasRefused(f"the signature expired at {terms.expiry}")
        if not set(needs) & set(terms.permissions):
            raise SasRefused(f"the signature grants {terms.permissions!r}, not {needs!r}")
