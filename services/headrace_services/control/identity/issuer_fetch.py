"""Fetches an outer issuer's keys: HTTPS, no redirects, bounded, and to public addresses only."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
import ssl
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from headrace_api.errors import InvalidInput
from headrace_api.trusted_issuer import usable_keys

FETCH_TIMEOUT_S: Final = 10.0
MAX_DOCUMENT_BYTES: Final = 256 * 1024
MAX_URL_CHARS: Final = 2_048
WELL_KNOWN: Final = "/.well-known/openid-configuration"


class IssuerUnreachable(InvalidInput):
    """Its documents cannot be had, or are none."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url!r} cannot be used: {reason}", target="properties.issuer")


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerFetch:
    """Reads discovery documents and key sets."""

    allow_private: bool = False
    """Whether addresses inside (private, loopback, link-local) may be called."""

    async def keys(self, issuer: str, algorithms: tuple[str, ...], *, ca: str = "") -> str:
        """The usable keys as `TrustedIssuer.keys`; `ca` is PEM, empty takes the system's.

        Raises IssuerUnreachable.
        """
        context = await asyncio.to_thread(_context, issuer, ca)
        connector = aiohttp.TCPConnector(ssl=context, resolver=_Resolver(self.allow_private))
        timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT_S)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            address = issuer.rstrip("/") + WELL_KNOWN
            document = await self._document(session, address)
            if not isinstance(document, dict) or document.get("issuer") != issuer:
                raise IssuerUnreachable(address, f"it belongs to another issuer than {issuer!r}")
            location = str(document.get("jwks_uri", ""))
            found = await self._document(session, location)
        try:
            return usable_keys(found, algorithms)
        except ValueError as error:
            raise IssuerUnreachable(location, str(error)) from None

    async def _document(self, session: aiohttp.ClientSession, url: str) -> Any:
        require_https(url)
        host = str(urlsplit(url).hostname)
        # aiohttp resolves no literal address, so the resolver below never sees it.
        if _is_literal(host):
            require_public(host, self.allow_private)
        try:
            async with session.get(url, allow_redirects=False) as response:
                if response.status != 200:
                    raise IssuerUnreachable(url, f"it answers HTTP {response.status}")
                data = bytearray()
                async for block in response.content.iter_any():
                    data += block
                    if len(data) > MAX_DOCUMENT_BYTES:
                        words = f"the document is over {MAX_DOCUMENT_BYTES} bytes"
                        raise IssuerUnreachable(url, words)
            return json.loads(bytes(data))
        except (ValueError, RecursionError) as error:
            if isinstance(error, InvalidInput):
                raise
            raise IssuerUnreachable(url, "its answer is not JSON") from None
        except (aiohttp.ClientError, OSError) as error:
            reason = str(error) or f"no answer within {FETCH_TIMEOUT_S:g} s"
            raise IssuerUnreachable(url, reason) from None


class _Resolver(AbstractResolver):
    """Judges the very addresses that will be called, so that no name can change between."""

    def __init__(self, allow_private: bool) -> None:
        self._allow_private = allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        results = []
        for known_family, _, protocol, _, address in found:
            require_public(str(address[0]), self._allow_private)
            results.append(
                ResolveResult(
                    hostname=host,
                    host=str(address[0]),
                    port=port,
                    family=known_family,
                    proto=protocol,
                    flags=socket.AI_NUMERICHOST,
                )
            )
        return results

    async def close(self) -> None:
        """Nothing is kept."""


def require_https(url: str) -> None:
    """Raises IssuerUnreachable."""
    try:
        parts = urlsplit(url)
        good = parts.scheme == "https" and bool(parts.hostname) and parts.username is None
        good &= parts.port != 0 and len(url) <= MAX_URL_CHARS and url.isprintable()
    except ValueError:
        good = False
    if not good or "?" in url or "#" in url:
        raise IssuerUnreachable(
            url[:256], "use an https:// address without user, query or fragment"
        )


def require_public(address: str, allow_private: bool) -> None:
    """Raises IssuerUnreachable for addresses inside, among them the clouds' metadata services."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None) or found
    if not allow_private and (not mapped.is_global or mapped.is_multicast):
        raise IssuerUnreachable(
            address, "it is a private address; HEADRACE_ALLOW_PRIVATE_URLS=1 for control allows it"
        )


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _context(issuer: str, ca: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cadata=ca or None)
    except (ssl.SSLError, ValueError, TypeError) as error:  # TypeError: text that is not ASCII
        raise IssuerUnreachable(
            issuer, f"caCertificate is not a PEM certificate: {error}"
        ) from None
