"""Settings of the control process, read once when it starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headrace_api.errors import InvalidInput
from headrace_api.home import Home

ROLE: Final = "control"  # its name on the bus, and of its credentials
DEFAULT_INGRESS_URL: Final = "https://localhost:8443"
CONTROL_URL_VARIABLE: Final = "HEADRACE_CONTROL_URL"
INGRESS_URL_VARIABLE: Final = "HEADRACE_INGRESS_URL"
PRIVATE_URLS_VARIABLE: Final = "HEADRACE_ALLOW_PRIVATE_URLS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What `headrace run control` was given."""

    home: Home
    nats_url: str
    nats_credentials: Path | None = None
    """None takes the role's own file below the home."""
    host: str = "127.0.0.1"
    port: int = 9443
    """0 takes a free one."""
    console_port: int | None = None
    """Plain HTTP on 127.0.0.1: page, health, metrics; 0 takes a free one, None serves none."""
    control_url: str = ""
    """Public base URL; empty means https://localhost:<port>."""
    ingress_url: str = DEFAULT_INGRESS_URL
    """Public base URL of scoring, as scoring URIs carry it."""
    allow_private_urls: bool = False
    """Whether addresses that users give, as of an issuer, may lie inside: private, loopback."""
    max_connections: int = 1024
    """Of the API's port, within what the limit of open files leaves; more are dropped."""
    drain_s: float = 5.0
    """How long a stop waits for requests under way; scoring does not pass here."""

    @classmethod
    def from_environment(
        cls,
        *,
        home: Home,
        nats_url: str,
        nats_credentials: Path | None,
        port: int,
        console_port: int | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> Settings:
        """Raises InvalidInput when a public URL is not https."""
        return cls(
            home=home,
            nats_url=nats_url,
            nats_credentials=nats_credentials,
            port=port,
            console_port=console_port,
            control_url=_base_url(environment, CONTROL_URL_VARIABLE, ""),
            ingress_url=_base_url(environment, INGRESS_URL_VARIABLE, DEFAULT_INGRESS_URL),
            allow_private_urls=environment.get(PRIVATE_URLS_VARIABLE, "") == "1",
        )


def _base_url(environment: Mapping[str, str], variable: str, default: str) -> str:
    url = environment.get(variable, default).rstrip("/")
    if url and not url.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
        raise InvalidInput(f"{variable} is {url!r}: give a base URL that begins with https://")
    return url
