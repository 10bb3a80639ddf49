"""The route of one endpoint, as control compiles it and ingresses apply it.

Control derives it from the endpoint's and its deployments' specs and writes it under `route.<ep>`
in the `state` bucket; an ingress needs nothing else to judge a request. It holds key digests and a
public key, never a secret.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Self

from headrace_api.record import Unreadable, load_json
from headrace_api.trusted_issuer import TrustedIssuer
from headrace_bus.errors import MalformedEnvelope

KEY_PREFIX = "route."


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentRoute:
    """What an ingress must know of one deployment."""

    name: str
    max_concurrent: int = 1
    """max_concurrent_requests_per_instance."""
    desired_instances: int = 1
    request_timeout_ms: int = 5_000
    max_queue_wait_ms: int = 500
    wake_timeout_ms: int = 300_000
    max_body_bytes: int = 64 * 1024 * 1024
    idempotent: bool = True
    hedge: bool = False
    failed: bool = False
    """Nobody should wait for an instance that is not ready: its start failed, whatever
    `desired_instances` says, or its instances die before they are ready, one after the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One endpoint: who may call it, and which deployment answers."""

    endpoint: str
    auth_mode: str = "key"
    """key, aml_token or aad_token."""
    key_digests: tuple[str, ...] = ()
    """SHA-256 of the primary and the secondary key in hex; for aad_token of the admin's token."""
    token_public_key: str = ""
    """Ed25519 public key of the token issuer, in hex."""
    audiences: tuple[str, ...] = ()
    """What an aad_token of our own issuer may be for."""
    epoch: str = ""
    """Which life of an endpoint of this name it is; an aml_token is good in its own. Empty where
    the control that compiled the route knew of none."""
    callers: tuple[str, ...] = ()
    """Who may score by token: ids of clients, and `issuer:<id>`."""
    issuers: tuple[TrustedIssuer, ...] = ()
    """Outer issuers whose tokens are good here, with their public keys."""
    traffic: dict[str, int] = field(default_factory=dict)
    mirror: dict[str, int] = field(default_factory=dict)
    deployments: dict[str, DeploymentRoute] = field(default_factory=dict)
    kubernetes: bool = False
    """No ready instance is 503 on Kubernetes-kind endpoints, 424 elsewhere."""

    def encode(self) -> bytes:
        return json.dumps(asdict(self), sort_keys=True).encode()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Raises MalformedEnvelope."""
        try:
            return load_json(cls, data)
        except Unreadable as error:
            raise MalformedEnvelope("route", str(error)) from error


def route_key(endpoint: str) -> str:
    return KEY_PREFIX + endpoint
