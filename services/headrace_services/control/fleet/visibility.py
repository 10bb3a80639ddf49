"""Whether requests can reach a finished rollout: which ingresses see its instances. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from headrace_services.control.fleet.rollout import Failure
from headrace_state.deployment_name import DeploymentName
from headrace_state.fleet_view import ObservedIngress

SEEN_BOUND_S: Final = 3.0  # how long an ingress that is behind the others is waited for
UNSEEN_BOUND_S: Final = 60.0  # how long any ingress is; longer than a restart takes


class Verdict(Enum):
    """What becomes of the operation."""

    REACHABLE = 0
    WAIT = 1
    UNREACHABLE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Visibility:
    """Which live ingresses can send requests to all instances of a deployment."""

    seeing: tuple[str, ...] = ()
    blind: Mapping[str, str]
    """Why not, by the ids of the others."""

    def verdict(self, waited_s: float) -> Verdict:
        """One ingress that is behind holds nobody up for long; without any there is no service."""
        if self.seeing and (not self.blind or waited_s > SEEN_BOUND_S):
            return Verdict.REACHABLE
        return Verdict.UNREACHABLE if waited_s > UNSEEN_BOUND_S else Verdict.WAIT

    def failure(self) -> Failure:
        """What to tell when the deployment is unreachable."""
        told = "; ".join(f"{name} {why}" for name, why in sorted(self.blind.items()))
        return Failure(
            code="IngressUnavailable",
            error=f"the instances are ready, but no ingress sees them: {told or 'none is running'}",
            iid="",
            hint="headrace status tells what runs; restart the ingress, then deploy again",
        )


def look(
    live: Mapping[str, ObservedIngress], name: DeploymentName, *, ready: int, revision: int
) -> Visibility:
    """Hold what each ingress says against the instances and the route's revision."""
    blind = {}
    for ingress_id, one in live.items():
        applied, sees = one.beat.applied.get(name.endpoint, 0), one.beat.live.get(".".join(name), 0)
        if applied < revision:
            blind[ingress_id] = f"has not applied the route (revision {applied} of {revision})"
        elif sees < ready:
            blind[ingress_id] = f"sees {sees} of {ready}"
    return Visibility(seeing=tuple(live.keys() - blind.keys()), blind=blind)
