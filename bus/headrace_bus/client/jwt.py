"""The JWTs of NATS' operator mode, version 2: what an operator, accounts and users may do."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from dataclasses import dataclass
from typing import Any, Final

from headrace_bus.client.nkeys import KeyPair

_HEADER: Final = {"typ": "JWT", "alg": "ed25519-nkey"}
_UNLIMITED: Final = -1
_USER_LIMITS: Final = {"subs": _UNLIMITED, "data": _UNLIMITED, "payload": _UNLIMITED}
_ACCOUNT_LIMITS: Final = {
    **_USER_LIMITS,
    "imports": _UNLIMITED,
    "exports": _UNLIMITED,
    "wildcards": True,
    "conn": _UNLIMITED,
    "leaf": _UNLIMITED,
}
_JETSTREAM_LIMITS: Final = {
    "mem_storage": _UNLIMITED,
    "disk_storage": _UNLIMITED,
    "streams": _UNLIMITED,
    "consumer": _UNLIMITED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Permissions:
    """The subjects a user may use; everything else is denied."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]

    def claims(self) -> dict[str, Any]:
        return {"pub": _allow(self.publish), "sub": _allow(self.subscribe)}


def operator_jwt(operator: KeyPair, system: KeyPair) -> str:
    claims = {"type": "operator", "version": 2, "system_account": system.public}
    return _sign(operator, operator.public, "headrace", claims)


def system_jwt(operator: KeyPair, system: KeyPair) -> str:
    """The system account, which lets each account import its own events and no other's."""
    events = {
        "name": "account-events",
        "subject": "$SYS.ACCOUNT.*.>",
        "type": "stream",
        "account_token_position": 3,
    }
    claims = _account(_ACCOUNT_LIMITS) | {"exports": [events]}
    return _sign(operator, system.public, "SYS", claims)


def account_jwt(
    operator: KeyPair,
    system: KeyPair,
    account: KeyPair,
    signer: KeyPair,
    template: Permissions,
) -> str:
    """The one account of an installation.

    Users signed by `signer` can be nothing but what the template says; the server enforces it.
    """
    events = {
        "name": "events",
        "subject": f"$SYS.ACCOUNT.{account.public}.>",
        "local_subject": "sysev.>",
        "account": system.public,
        "type": "stream",
    }
    scope = {
        "kind": "user_scope",
        "key": signer.public,
        "role": "instance",
        "template": {**_USER_LIMITS, **template.claims()},
    }
    claims = _account(_ACCOUNT_LIMITS | _JETSTREAM_LIMITS)
    claims |= {"imports": [events], "signing_keys": [scope]}
    return _sign(operator, account.public, "headrace", claims)


def user_jwt(account: KeyPair, user: KeyPair, name: str, permissions: Permissions) -> str:
    """A user with permissions of its own, signed by the account's identity key."""
    claims = {"type": "user", "version": 2, **_USER_LIMITS, **permissions.claims()}
    return _sign(account, user.public, name, claims)


def scoped_user_jwt(
    signer: KeyPair, account_public: str, user: KeyPair, name: str, tags: tuple[str, ...]
) -> str:
    """A user whose permissions the signing key's template gives; tags are `key:value`."""
    claims = {"type": "user", "version": 2, "issuer_account": account_public, "tags": list(tags)}
    return _sign(signer, user.public, name, claims)


def _account(limits: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "account",
        "version": 2,
        "limits": limits,
        "default_permissions": {"pub": {}, "sub": {}},
    }


def _allow(subjects: tuple[str, ...]) -> dict[str, Any]:
    # An empty allow list means "everything" to the server, so nothing is said by denying all.
    return {"allow": list(subjects)} if subjects else {"deny": [">"]}


def subject(signed: str) -> str:
    """Whom a JWT of ours is about; empty when it cannot be read. The signature is not checked."""
    return str(_claims(signed).get("sub", ""))


def grants(signed: str, account: KeyPair, permissions: Permissions) -> bool:
    """Whether a user's JWT is of this account and gives these rights and no others."""
    claims = _claims(signed)
    user = claims.get("nats")
    return (
        claims.get("iss") == account.public
        and isinstance(user, dict)
        and {key: user.get(key) for key in ("pub", "sub")} == permissions.claims()
    )


def _claims(signed: str) -> dict[str, Any]:
    """Empty when they cannot be read."""
    try:
        _, claims, _ = signed.split(".")
        found = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _sign(issuer: KeyPair, subject: str, name: str, nats: dict[str, Any]) -> str:
    claims = {
        "iat": int(time.time()),
        "iss": issuer.public,
        "name": name,
        "sub": subject,
        "nats": nats,
    }
    digest = hashlib.sha256(_json(claims)).digest()
    claims["jti"] = base64.b32encode(digest).rstrip(b"=").decode()
    signed = f"{_encode(_json(_HEADER))}.{_encode(_json(claims))}"
    return f"{signed}.{_encode(issuer.sign(signed.encode()))}"


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
