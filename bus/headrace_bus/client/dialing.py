"""Settings of the bus to what nats-py's `connect` takes."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path
from typing import Any

from headrace_bus.client.credentials import Credentials
from headrace_bus.client.settings import BusSettings


def inbox_prefix(settings: BusSettings) -> str:
    """Where answers to this connection go. Raises InvalidInput for unreadable credentials."""
    if settings.inbox_prefix is not None:
        return settings.inbox_prefix
    if settings.credentials is None:
        return "_INBOX"
    return Credentials.read(settings.credentials).inbox_prefix


def wants_tls(settings: BusSettings) -> bool:
    return settings.ca_file is not None or any(
        server.startswith("tls://") for server in settings.servers
    )


def connect_options(settings: BusSettings) -> dict[str, Any]:
    """All but the callbacks. Raises InvalidInput for unreadable credentials."""
    options: dict[str, Any] = {
        "name": settings.name,
        "allow_reconnect": True,
        "max_reconnect_attempts": -1,
        "connect_timeout": settings.dial_timeout_s,
        "reconnect_time_wait": settings.reconnect_wait_s,
        "ping_interval": settings.ping_interval_s,
        "max_outstanding_pings": 2,
        "inbox_prefix": inbox_prefix(settings),
        "tls_handshake_first": settings.tls_handshake_first,
    }
    if wants_tls(settings):
        options["tls"] = ssl.create_default_context(cafile=settings.ca_file)
    if path := settings.credentials:
        # Read at each connect, so that renewed credentials are taken up.
        options["user_jwt_cb"] = lambda: Credentials.read(path).jwt.encode()
        options["signature_cb"] = lambda nonce: _sign(path, nonce)
    return options


def _sign(path: Path, nonce: str) -> bytes:
    return base64.b64encode(Credentials.read(path).sign(nonce.encode()))
