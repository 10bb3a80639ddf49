"""Clients of a test's control, tokens of its issuer, and an OIDC issuer of the test's own."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from headrace_api.home import Home
from headrace_services.certificates import ensure_certificates
from support.control import ControlClient, Reply

TENANT: Final = "00000000-0000-0000-0000-000000000001"


@dataclass(frozen=True, slots=True, kw_only=True)
class TestClient:
    """A client as `headrace client create` tells it."""

    __test__ = False

    id: str
    secret: str


async def make_client(control: ControlClient, role: str, endpoint: str | None = None) -> TestClient:
    body = {"properties": {"role": role, "endpoint": endpoint, "displayName": f"a {role}"}}
    made = await control.put(f"/clients/{uuid4()}", body)
    assert made.status == 201, made.data
    found = made.json["properties"]
    return TestClient(id=found["clientId"], secret=found["secret"])


def token_url(control: ControlClient, tenant: str = TENANT) -> str:
    return f"{control.base}/{tenant}/oauth2/v2.0/token"


async def ask_token(
    control: ControlClient,
    form: Mapping[str, str],
    *,
    tenant: str = TENANT,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, dict[str, Any]]:
    """POST the form; the status and the JSON."""
    url = token_url(control, tenant)
    async with control.session.post(url, data=form, headers=headers) as reply:
        return reply.status, await reply.json()


async def fetch_token(control: ControlClient, client: TestClient, scope: str = "") -> str:
    form = {
        "grant_type": "client_credentials",
        "client_id": client.id,
        "client_secret": client.secret,
        "scope": scope or f"{control.base}/.default",
    }
    status, body = await ask_token(control, form)
    assert status == 200, body
    return str(body["access_token"])


async def as_bearer(
    control: ControlClient, token: str, method: str, path: str, body: object = None
) -> Reply:
    return await control.send(method, path, body, headers={"Authorization": f"Bearer {token}"})


def encode(data: bytes | Mapping[str, Any]) -> str:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def number(value: int) -> str:
    return encode(value.to_bytes((value.bit_length() + 7) // 8))


class OuterKeys:
    """An RSA and an EC key, as JWKS and as a signer."""

    def __init__(self) -> None:
        self.rsa = rsa.generate_private_key(65537, 2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())

    @property
    def jwks(self) -> dict[str, Any]:
        public, point = self.rsa.public_key().public_numbers(), self.ec.public_key()
        xy = point.public_numbers()
        return {
            "keys": [
                {"kty": "RSA", "kid": "r", "n": number(public.n), "e": number(public.e)},
                {
                    "kty": "EC",
                    "kid": "e",
                    "crv": "P-256",
                    "x": encode(xy.x.to_bytes(32)),
                    "y": encode(xy.y.to_bytes(32)),
                },
            ]
        }

    def sign(self, claims: Mapping[str, Any], algorithm: str = "RS256") -> str:
        kid = "r" if algorithm == "RS256" else "e"
        signed = f"{encode({'alg': algorithm, 'kid': kid})}.{encode(claims)}"
        if algorithm == "RS256":
            return (
                f"{signed}.{encode(self.rsa.sign(signed.encode(), padding.PKCS1v15(), SHA256()))}"
            )
        r, s = decode_dss_signature(self.ec.sign(signed.encode(), ec.ECDSA(SHA256())))
        return f"{signed}.{encode(r.to_bytes(32) + s.to_bytes(32))}"


@dataclass(slots=True, kw_only=True)
class OuterIssuer:
    """A running issuer: its address, its CA and its keys."""

    url: str
    ca: str
    keys: OuterKeys
    jwks: Any = None
    """What it publishes instead of its keys, when a test says so."""


@asynccontextmanager
async def outer_issuer(folder: Path) -> AsyncIterator[OuterIssuer]:
    """An HTTPS server on a free port of this machine, with a CA of its own."""
    certificates = ensure_certificates(Home(folder))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    found = OuterIssuer(url="", ca=Home(folder).ca.read_text(), keys=OuterKeys())

    async def configuration(request: web.Request) -> web.Response:
        return web.json_response({"issuer": found.url, "jwks_uri": f"{found.url}/keys"})

    async def keys(request: web.Request) -> web.Response:
        return web.json_response(found.jwks or found.keys.jwks)

    application = web.Application()
    application.router.add_get("/.well-known/openid-configuration", configuration)
    application.router.add_get("/keys", keys)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    found.url = f"https://localhost:{runner.addresses[0][1]}"
    try:
        yield found
    finally:
        await runner.cleanup()
