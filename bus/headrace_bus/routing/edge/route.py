"""Which deployment answers a request: header first, else weight; and who gets a copy.

(Route, header) -> RouteDecision | RouteRefused
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from headrace_bus.wire.route_record import DeploymentRoute, Route

NO_ROUTE: Final = (
    "No valid deployments to route to. Please check that the endpoint has at least one deployment "
    "with positive weight values or use a deployment specific header to route."
)
"""azure_behaviour.md 2, word for word."""

WHOLE: Final = 100  # per cent


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteDecision:
    """Where a request goes."""

    deployment: DeploymentRoute
    mirror: DeploymentRoute | None = None
    """Gets a copy whose answer nobody waits for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRefused:
    """404: there is nowhere to go."""

    code: str
    message: str


class Router:
    """The routing state of one endpoint at one ingress.

    Smooth weighted round robin: any 100 requests in a row are split exactly, and small counts as
    evenly as they can be. It starts at a random point, so that many ingresses do not all send their
    first request to the same deployment.
    """

    def __init__(self, route: Route, rng: random.Random) -> None:
        self.route = route
        self._weights = _valid(route.traffic, route)
        self._current = dict.fromkeys(self._weights, 0)
        self._sole = next(iter(self._weights)) if len(self._weights) == 1 else None
        self._mirrors = _valid(route.mirror, route)
        self._credit = dict.fromkeys(self._mirrors, rng.randrange(WHOLE))
        self._plain = {
            name: RouteDecision(deployment=one) for name, one in route.deployments.items()
        }
        for _ in range(rng.randrange(sum(self._weights.values()) or 1)):
            self._step()

    def choose(self, header: str | None) -> RouteDecision | RouteRefused:
        """Decide one request; `header` is the value of azureml-model-deployment, if it has one."""
        if header:
            return self._plain.get(header.lower()) or RouteRefused(
                code="DeploymentNotFound",
                message=f"Deployment name {header} not found for this endpoint",
            )
        if self._sole is not None:
            name = self._sole
        elif self._weights:
            name = self._step()
        else:
            return RouteRefused(code="NotFound", message=NO_ROUTE)
        return self._mirrored(name) if self._mirrors else self._plain[name]

    def updated(self, route: Route, rng: random.Random) -> Router:
        """Return the state for a newer route; the split goes on where it was if it is the same."""
        new = Router(route, rng)
        if new._weights == self._weights:
            new._current = self._current
        if new._mirrors == self._mirrors:
            new._credit = self._credit
        return new

    def _step(self) -> str:
        current, total = self._current, 0
        for name, weight in self._weights.items():
            current[name] += weight
            total += weight
        chosen = max(current, key=current.__getitem__)
        current[chosen] -= total
        return chosen

    def _mirrored(self, name: str) -> RouteDecision:
        for mirror, percent in self._mirrors.items():
            self._credit[mirror] += percent
            if self._credit[mirror] >= WHOLE:
                self._credit[mirror] -= WHOLE
                if mirror != name:
                    deployments = self.route.deployments
                    return RouteDecision(deployment=deployments[name], mirror=deployments[mirror])
        return self._plain[name]


def _valid(shares: dict[str, int], route: Route) -> dict[str, int]:
    return {
        name: share for name, share in shares.items() if share > 0 and name in route.deployments
    }
