"""Who may score at `aad_token` endpoints, as routes carry it. Pure: records in, names out.

A token says who its holder is and no more. What a client may do is in its record, and control
compiles those who may score into each route: a deleted client is out with the next route, which
ingresses apply as soon as `changed` tells them of it, and no ingress ever needs a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from headrace_api.trusted_issuer import TrustedIssuer
from headrace_state.records import Client, IssuerKeys, OuterIssuer
from headrace_state.roles import Role, RoleAssignment, can_score

AZURE_ML: Final = "https://ml.azure.com"
AZURE_MANAGEMENT: Final = ("https://management.azure.com", "https://management.core.windows.net")


def scoring_audiences(control_url: str) -> tuple[str, ...]:
    """What tokens for scoring are for: Azure's, and what the SDK makes of our own address.

    The SDK appends the portal's suffix to `https://ml.azure.`, which for `localhost` is nothing
    (azure_rest.md 5).
    """
    host = urlsplit(control_url).hostname or ""
    suffix = host.partition(".")[2]
    return (AZURE_ML, f"https://ml.azure.{suffix}", control_url)


def granted_audiences(control_url: str) -> frozenset[str]:
    """Everything our issuer gives tokens for."""
    return frozenset(scoring_audiences(control_url) + AZURE_MANAGEMENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorers:
    """Who may call one endpoint."""

    callers: tuple[str, ...] = ()
    """Ids of clients, and `issuer:<id>`."""
    issuers: tuple[TrustedIssuer, ...] = ()
    audiences: tuple[str, ...] = ()
    admin_digests: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """All clients and issuers at one moment."""

    clients: tuple[Client, ...] = ()
    issuers: tuple[OuterIssuer, ...] = ()
    keys: Mapping[str, IssuerKeys] = field(default_factory=dict)
    audiences: tuple[str, ...] = ()
    admin_digests: tuple[str, ...] = ()

    def scorers(self, endpoint: str) -> Scorers:
        issuers = tuple(
            trusted(one, self.keys.get(one.id))
            for one in self.issuers
            if can_score([assignment(one)], endpoint)
        )
        clients = [one.id for one in self.clients if can_score([assignment(one)], endpoint)]
        return Scorers(
            callers=tuple(sorted(clients + [one.caller for one in issuers])),
            issuers=issuers,
            audiences=self.audiences,
            admin_digests=self.admin_digests,
        )


def assignment(record: Client | OuterIssuer) -> RoleAssignment:
    """The role a record gives."""
    return RoleAssignment(role=Role(record.role), endpoint=record.endpoint)


def trusted(record: OuterIssuer, keys: IssuerKeys | None) -> TrustedIssuer:
    """The issuer with its keys, ready to verify by."""
    return TrustedIssuer(
        id=record.id,
        issuer=record.issuer,
        audience=record.audience,
        algorithms=record.algorithms,
        subject=record.subject,
        keys=keys.keys if keys else "",
    )
