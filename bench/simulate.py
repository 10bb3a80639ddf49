"""The best any dispatcher can do: one central queue in front of equal servers."""

from __future__ import annotations

import heapq
from collections.abc import Sequence


def central_queue(
    arrivals_s: Sequence[float], services_s: Sequence[float], servers: int
) -> list[float]:
    """Response time in seconds of each request; first come, first served."""
    free_at = [0.0] * servers
    responses = []
    for arrival, service in zip(arrivals_s, services_s, strict=True):
        start = max(arrival, heapq.heappop(free_at))
        heapq.heappush(free_at, start + service)
        responses.append(start + service - arrival)
    return responses
