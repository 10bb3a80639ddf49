"""What an ingress is told at its start: flags first, environment for the rest."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from headrace_api.errors import InvalidInput
from headrace_api.home import Home
from headrace_bus.routing.bodies.shared_file import SPOOLED_BYTES

MAX_BODY_VARIABLE = "HEADRACE_MAX_BODY_BYTES"
MAX_SPOOL_VARIABLE = "HEADRACE_MAX_SPOOL_BYTES"
DOMAIN_VARIABLE = "HEADRACE_INGRESS_DOMAIN"
MAX_CONNECTIONS_VARIABLE = "HEADRACE_MAX_CONNECTIONS"
BODY_LIMIT_BYTES = 64 * 1024 * 1024
LARGEST_BODY_BYTES = 1024 * 1024 * 1024  # a setting of more is refused


@dataclass(frozen=True, slots=True, kw_only=True)
class IngressSettings:
    """One ingress. Raises InvalidInput for a value that cannot be."""

    nats_url: str
    home: Home
    nats_credentials: Path | None = None
    """None: the server takes anybody (tests)."""
    host: str = "127.0.0.1"
    """Of the HTTPS port."""
    port: int | None = 8443
    """HTTPS with `<home>/tls/server.pem`; 0 takes a free one, None serves no HTTPS."""
    http_port: int | None = 8080
    """Plain HTTP on 127.0.0.1 only, with /healthz, /readyz and /metrics; 0 takes a free one."""
    domain: str = ""
    """`<ep>.<domain>` as a host name is the endpoint too; empty accepts none."""
    max_body_bytes: int = BODY_LIMIT_BYTES
    max_spool_bytes: int = SPOOLED_BYTES
    """Of all large bodies and answers that lie in files at once; past it 507."""
    max_connections: int = 4096
    """Of each port, within what the limit of open files leaves; more are dropped."""
    drain_s: float = 30.0
    """What open requests get at a stop."""

    def __post_init__(self) -> None:
        if not 0 < self.max_body_bytes <= LARGEST_BODY_BYTES:
            raise InvalidInput(
                f"{MAX_BODY_VARIABLE} is {self.max_body_bytes}; 1 to {LARGEST_BODY_BYTES} expected",
                target=MAX_BODY_VARIABLE,
            )
        if self.max_spool_bytes < 1:
            raise InvalidInput(
                f"{MAX_SPOOL_VARIABLE} is {self.max_spool_bytes}; at least 1 expected",
                target=MAX_SPOOL_VARIABLE,
            )
        if self.max_connections < 1:
            raise InvalidInput(
                f"{MAX_CONNECTIONS_VARIABLE} is {self.max_connections}; at least 1 expected",
                target=MAX_CONNECTIONS_VARIABLE,
            )

    @classmethod
    def load(
        cls,
        *,
        nats_url: str,
        nats_credentials: Path | None,
        home: Home,
        port: int | None,
        http_port: int | None,
        host: str = "127.0.0.1",
        environment: Mapping[str, str] = os.environ,
    ) -> Self:
        """Join the flags of `headrace run ingress` with the environment. Raises InvalidInput."""
        return cls(
            nats_url=nats_url,
            nats_credentials=nats_credentials,
            home=home,
            host=host,
            port=port,
            http_port=http_port,
            domain=environment.get(DOMAIN_VARIABLE, ""),
            max_body_bytes=_number(environment, MAX_BODY_VARIABLE, BODY_LIMIT_BYTES),
            max_spool_bytes=_number(environment, MAX_SPOOL_VARIABLE, SPOOLED_BYTES),
            max_connections=_number(environment, MAX_CONNECTIONS_VARIABLE, 4096),
        )


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, str(default))
    try:
        return int(text)
    except ValueError:
        raise InvalidInput(f"{name} is {text!r}; expected a whole number", target=name) from None
