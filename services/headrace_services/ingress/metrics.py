"""What the HTTP edge counts: one counter and one histogram a request, children kept."""

from __future__ import annotations

from headrace_telemetry.metrics import Counter, Histogram, Registry

_ONLINE = "online"


class EdgeMetrics:
    """The families of the ingress."""

    def __init__(self, registry: Registry) -> None:
        self._requests = registry.counter(
            "headrace_requests_total",
            "Requests answered, by HTTP status.",
            ("endpoint", "deployment", "lane", "code"),
        )
        self._duration = registry.histogram(
            "headrace_request_duration_seconds",
            "From the whole request to the whole answer.",
            ("endpoint", "deployment", "lane"),
        )
        self.connections = registry.gauge(
            "headrace_http_connections", "Connections that are open."
        ).labels()
        self.cancelled = registry.counter(
            "headrace_requests_cancelled_total", "Requests whose caller hung up."
        ).labels()
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def refused(self, endpoint: str, status: int) -> None:
        """Count what no deployment was asked for: its time says nothing of anybody's latency.

        Unknown endpoints come as '', so callers cannot make labels.
        """
        self._requests.labels(endpoint, "", _ONLINE, str(status)).inc()

    def answered(self, endpoint: str, deployment: str, status: int, seconds: float) -> None:
        """Count one answer and how long it took."""
        key = (endpoint, deployment, status)
        children = self._children.get(key)
        if children is None:
            children = self._children[key] = (
                self._requests.labels(endpoint, deployment, _ONLINE, str(status)),
                self._duration.labels(endpoint, deployment, _ONLINE),
            )
        children[0].value += 1
        children[1].observe(seconds)
