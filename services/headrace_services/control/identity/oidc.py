"""Our OpenID provider: discovery, keys, and tokens for `client_credentials` (RFC 6749, 8414).

Entra's paths and AD FS' (azure_rest.md 1.2 and 5). No grant here gives an id token, so that clients
validate nothing of ours but that the issuer lies at the authority they were given.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote_plus

import structlog
from aiohttp import web

from headrace_services.control.identity.access import granted_audiences
from headrace_services.control.identity.clients import Clients
from headrace_services.control.identity.issuer import TENANT, Issuer
from headrace_services.control.identity.throttle import FailureThrottle

log = structlog.get_logger(__name__)

MAX_FORM_BYTES: Final = 16 * 1024
MAX_FORM_FIELDS: Final = 32
MAX_SHOWN_CHARS: Final = 128
FORM_TIMEOUT_S: Final = 10.0
ADFS: Final = "adfs"
SCOPE_SUFFIX: Final = "/.default"
_NO_STORE: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_WELL_KNOWN: Final = (
    (".well-known", "openid-configuration"),
    ("v2.0", ".well-known", "openid-configuration"),
)
_KEYS: Final = (("discovery", "keys"), ("discovery", "v2.0", "keys"))
_TOKEN: Final = (("oauth2", "token"), ("oauth2", "v2.0", "token"))
_AUTHORIZE: Final = (("oauth2", "authorize"), ("oauth2", "v2.0", "authorize"))
_DEVICE: Final = (("oauth2", "devicecode"), ("oauth2", "v2.0", "devicecode"))
GRANT: Final = "client_credentials"
ROUTES: Final[Mapping[tuple[str, ...], tuple[str, ...]]] = {
    **dict.fromkeys(_WELL_KNOWN + _KEYS, ("GET", "HEAD")),
    **dict.fromkeys(_TOKEN + _DEVICE, ("POST",)),
    **dict.fromkeys(_AUTHORIZE, ("GET", "POST")),
}
"""The methods of each path below the tenant, whose segments match in any case."""


class OAuthError(Exception):
    """What RFC 6749 5.2 calls an error response."""

    def __init__(
        self,
        code: str,
        description: str,
        *,
        status: int = 400,
        wait_s: int = 0,
        allowed: Sequence[str] = (),
    ) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.status = status
        self.wait_s = wait_s
        self.allowed = allowed


class Secret(NamedTuple):
    """What a client showed of itself."""

    client_id: str
    secret: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenIdProvider:
    """Answers the issuer's own paths, which take no bearer token."""

    control_url: str
    issuer: Issuer
    clients: Clients
    throttle: FailureThrottle = field(default_factory=FailureThrottle)
    now_s: Callable[[], float] = time.time

    def owns(self, segments: Sequence[str]) -> bool:
        return tuple(one.lower() for one in segments[1:]) in ROUTES

    async def handle(self, request: web.Request, segments: Sequence[str]) -> web.Response:
        tenant, rest = segments[0].lower(), tuple(one.lower() for one in segments[1:])
        try:
            _require_method(request, ROUTES[rest])
            _require_tenant(tenant)
            if rest in _TOKEN:
                return await self._token(request)
            if rest in _AUTHORIZE + _DEVICE:
                raise OAuthError(
                    "unsupported_grant_type" if rest in _DEVICE else "unauthorized_client",
                    f"this issuer signs in clients with a secret only: use {GRANT}",
                )
            body = {"keys": [self.issuer.jwk]} if rest in _KEYS else self.configuration(tenant)
            return web.json_response(body)
        except OAuthError as error:
            return self._refusal(request, error)

    def configuration(self, tenant: str) -> dict[str, Any]:
        """The discovery document; AD FS' paths carry no version."""
        base = f"{self.control_url}/{tenant}"
        version = "" if tenant == ADFS else "/v2.0"
        return {
            "issuer": base if tenant == ADFS else self.issuer.url,
            "authorization_endpoint": f"{base}/oauth2{version}/authorize",
            "token_endpoint": f"{base}/oauth2{version}/token",
            "device_authorization_endpoint": f"{base}/oauth2{version}/devicecode",
            "jwks_uri": f"{base}/discovery{version}/keys",
            "grant_types_supported": [GRANT],
            "response_types_supported": ["token"],
            "subject_types_supported": ["public"],
            "scopes_supported": sorted(one + SCOPE_SUFFIX for one in self._audiences),
            "id_token_signing_alg_values_supported": ["EdDSA"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
        }

    @property
    def _audiences(self) -> frozenset[str]:
        return granted_audiences(self.control_url)

    async def _token(self, request: web.Request) -> web.Response:
        form = await _read_form(request)
        shown = _shown_secret(request, form)
        _require_grant(form)
        now_s = self.now_s()
        client = await self.clients.proven(shown.client_id, shown.secret)
        if client is None:
            raise self._guessed(f"{request.remote} {shown.client_id[:MAX_SHOWN_CHARS]}", now_s)
        audience = self._audience(form)
        issued = self.issuer.client_token(
            client.id, name=client.name, audience=audience, now_s=int(now_s)
        )
        log.info("audit", who=f"client:{client.id}", action="token", resource=audience, revision=0)
        return web.json_response(
            _token_body(issued.text, issued.expires_s, now_s), headers=_NO_STORE
        )

    def _guessed(self, caller: str, now_s: float) -> OAuthError:
        """The refusal of a wrong secret; who guesses on waits, and nobody who knows it does."""
        if wait_s := self.throttle.wait_s(caller, now_s):
            return OAuthError(
                "temporarily_unavailable",
                f"too many failures; try again in {math.ceil(wait_s)} s",
                status=429,
                wait_s=math.ceil(wait_s),
            )
        self.throttle.failed(caller, now_s)
        log.warning("a client was refused", client=caller)
        return OAuthError("invalid_client", "unknown client or wrong secret", status=401)

    def _audience(self, form: Mapping[str, str]) -> str:
        """What the token is for: the one scope, or `resource` of the first version.

        Raises OAuthError.
        """
        scopes = form.get("scope", "").split() or [form.get("resource", "")]
        wanted = {one.removesuffix(SCOPE_SUFFIX).rstrip("/") for one in scopes}
        known = {one.rstrip("/"): one for one in self._audiences}
        if len(wanted) == 1 and (found := known.get(next(iter(wanted)))):
            return found
        names = ", ".join(sorted(one + SCOPE_SUFFIX for one in self._audiences))
        raise OAuthError(
            "invalid_scope",
            f"scope {form.get('scope', '')[:MAX_SHOWN_CHARS]!r}: use one of {names}",
        )

    def _refusal(self, request: web.Request, error: OAuthError) -> web.Response:
        headers = dict(_NO_STORE)
        if error.status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="headrace"'
        if error.allowed:
            headers["Allow"] = ", ".join(error.allowed)
        if error.wait_s:
            headers["Retry-After"] = str(error.wait_s)
        log.info("a token was refused", code=error.code, status=error.status)
        body = {"error": error.code, "error_description": error.description}
        return web.json_response(body, status=error.status, headers=headers)


def _token_body(text: str, expires_s: int, now_s: float) -> dict[str, Any]:
    lifetime_s = expires_s - int(now_s)
    return {
        "token_type": "Bearer",
        "expires_in": lifetime_s,
        "ext_expires_in": lifetime_s,
        "access_token": text,
    }


def _require_tenant(tenant: str) -> None:
    if tenant not in (TENANT, ADFS):
        raise OAuthError(
            "invalid_request",
            f"tenant {tenant[:MAX_SHOWN_CHARS]!r} not found: this installation is tenant {TENANT}",
        )


def _require_method(request: web.Request, allowed: Sequence[str]) -> None:
    if request.method not in allowed:
        words = f"use {' or '.join(allowed)} here"
        raise OAuthError("invalid_request", words, status=405, allowed=allowed)


def _require_grant(form: Mapping[str, str]) -> None:
    if form.get("client_assertion"):
        raise OAuthError(
            "invalid_client", "certificates are not supported: use a secret", status=401
        )
    grant = form.get("grant_type", "")
    if not grant:
        raise OAuthError("invalid_request", "the form has no grant_type")
    if grant != GRANT:
        raise OAuthError(
            "unsupported_grant_type",
            f"grant_type is {grant[:MAX_SHOWN_CHARS]!r}: this issuer supports {GRANT}",
        )


async def _read_form(request: web.Request) -> dict[str, str]:
    """Raises OAuthError for what is no form of a few fields."""
    if request.content_type != "application/x-www-form-urlencoded":
        raise OAuthError("invalid_request", "send application/x-www-form-urlencoded", status=415)
    data = bytearray()
    try:
        async with asyncio.timeout(FORM_TIMEOUT_S):
            while not request.content.at_eof():
                data += await request.content.readany()
                if len(data) > MAX_FORM_BYTES:
                    words = f"the form is larger than {MAX_FORM_BYTES} bytes"
                    raise OAuthError("invalid_request", words, status=413)
        pairs = parse_qsl(
            data.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS
        )
    except TimeoutError:
        raise OAuthError("invalid_request", "the form did not arrive in time", status=408) from None
    except (ValueError, web.RequestPayloadError):
        raise OAuthError("invalid_request", "the form cannot be read") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise OAuthError("invalid_request", "the form repeats a field")
    return form


def _shown_secret(request: web.Request, form: Mapping[str, str]) -> Secret:
    """From HTTP Basic or the form, not from both (RFC 6749 2.3). Raises OAuthError."""
    header = request.headers.get("Authorization", "")
    if not header:
        return Secret(form.get("client_id", "").lower(), form.get("client_secret", ""))
    scheme, _, encoded = header.partition(" ")
    try:
        if scheme.lower() != "basic" or "client_secret" in form:
            raise ValueError("use one way of authentication, and only Basic in the header")
        text = base64.b64decode(encoded.strip(), validate=True).decode()
        client_id, colon, secret = text.partition(":")
        if not colon:
            raise ValueError("no colon")
    except (ValueError, binascii.Error):
        words = "authenticate by HTTP Basic or by client_id and client_secret in the form"
        raise OAuthError("invalid_request", words) from None
    return Secret(unquote_plus(client_id).lower(), unquote_plus(secret))
