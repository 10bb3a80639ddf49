"""Roles and what they allow: the actions of azure_behaviour.md 4, read off method and path.

The action follows from the path alone, so that a route added tomorrow is protected without a word
about it; what no role names is the owner's and the contributor's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from headrace_api.errors import Forbidden
from headrace_api.ids import PROVIDER

ROOT_ACTION: Final = "Microsoft.Resources/subscriptions"
_ENDPOINT_KINDS: Final = frozenset({"onlineendpoints", "batchendpoints"})
_VERBS: Final = {"GET": "read", "HEAD": "read", "DELETE": "delete"}
_WORKSPACES: Final = f"{PROVIDER}/workspaces".lower()
# Logs are fetched by POST, for the request has options; it changes nothing.
_READS: Final = ("/read", "/onlineendpoints/deployments/getlogs/action")
_OWNERS_ALONE: Final = (
    f"{_WORKSPACES}/clients/",
    f"{_WORKSPACES}/issuers/",
    f"{_WORKSPACES}/events/",
)
_ANY_ROLE: Final = frozenset(
    {
        f"{ROOT_ACTION}/read".lower(),
        f"{_WORKSPACES}/read",
        # Ids of operations are random and told to nobody but who started them.
        f"{PROVIDER}/locations/mfeOperationsStatus/read".lower(),
        f"{PROVIDER}/locations/mfeOperationResults/read".lower(),
    }
)


class Role(StrEnum):
    """What a caller may be."""

    OWNER = "owner"
    CONTRIBUTOR = "contributor"
    READER = "reader"
    SCORER = "scorer"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleAssignment:
    """One role, on the workspace or on one endpoint and what is below it."""

    role: Role
    endpoint: str = ""
    """Lower case; empty means the whole workspace."""

    def __str__(self) -> str:
        where = f"endpoint {self.endpoint!r}" if self.endpoint else "the workspace"
        return f"{self.role} on {where}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The caller, as audit lines and `createdBy` name it, and what they may do."""

    name: str
    roles: tuple[RoleAssignment, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request wants to do, and to which endpoint (empty: the workspace)."""

    action: str
    endpoint: str = ""


def asked(method: str, segments: Sequence[str]) -> Asked:
    """Pure. `segments` are those of the decoded path."""
    end = _VERBS.get(method, "write")
    provider, below = _below_provider(segments)
    if not provider:
        return Asked(action=f"{ROOT_ACTION}/{end}")
    if method == "POST" and len(below) % 2 == 1:
        end = f"{below.pop()}/action"
    kinds = below[::2]
    is_endpoint = provider is PROVIDER and len(below) > 3 and below[2].lower() in _ENDPOINT_KINDS
    return Asked(
        action="/".join([provider, *kinds, end]), endpoint=below[3].lower() if is_endpoint else ""
    )


def allowed(assignments: Iterable[RoleAssignment], action: str, endpoint: str) -> bool:
    """Whether any of the roles allows the action there. Pure."""
    lower = action.lower()
    return any(
        lower in _ANY_ROLE or (one.endpoint in ("", endpoint.lower()) and _grants(one.role, lower))
        for one in assignments
    )


def require(assignments: Sequence[RoleAssignment], wanted: Asked) -> None:
    """Raises Forbidden, naming the action and the roles."""
    if allowed(assignments, wanted.action, wanted.endpoint):
        return
    have = ", ".join(map(str, assignments)) or "no role"
    where = f"endpoint {wanted.endpoint!r}" if wanted.endpoint else "the workspace"
    raise Forbidden(
        f"this caller ({have}) may not perform {wanted.action!r} on {where}",
        hint="an owner can create a client with another role: headrace client create --role ...",
        target=wanted.action,
    )


def can_score(assignments: Iterable[RoleAssignment], endpoint: str) -> bool:
    """Whether a holder may call the endpoint with a token of their own."""
    action = f"{PROVIDER}/workspaces/onlineEndpoints/score/action"
    return allowed(assignments, action, endpoint)


def _below_provider(segments: Sequence[str]) -> tuple[str, list[str]]:
    """The provider a path names, and what follows it; nothing where it names none.

    The last one: what another provider adds to a resource of ours is that provider's.
    """
    places = [at for at, one in enumerate(segments[:-1]) if one.lower() == "providers"]
    if not places:
        return "", []
    provider, below = segments[places[-1] + 1], list(segments[places[-1] + 2 :])
    return (PROVIDER if provider.lower() == PROVIDER.lower() else provider), below


def _grants(role: Role, action: str) -> bool:
    if role is Role.OWNER:
        return True
    if action.startswith(_OWNERS_ALONE):
        return False
    if role is Role.CONTRIBUTOR:
        return True
    if role is Role.READER:
        return action.endswith(_READS)
    kinds = tuple(f"{_WORKSPACES}/{kind}" for kind in sorted(_ENDPOINT_KINDS))
    return action.startswith(kinds) and action.endswith(("/score/action", "/token/action"))
