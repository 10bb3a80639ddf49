"""What a gateway counts; channels keep their children and bump them."""

from __future__ import annotations

from enum import StrEnum

from headrace_telemetry.metrics import Registry

_LABELS = ("endpoint", "deployment", "lane")
ONLINE = "online"


class HedgeEvent(StrEnum):
    """What `headrace_hedges_total` counts, by its label `event`."""

    SENT = "sent"
    WON = "won"  # the copy's answer was the first
    CANCELLED = "cancelled"  # the loser, copy or request, was told to stop
    REFUSED = "refused"  # a copy was due and the budget had no room for it


class GatewayMetrics:
    """The families of one gateway."""

    def __init__(self, registry: Registry) -> None:
        self.queue_s = registry.histogram(
            "headrace_request_queue_seconds", "Wait for a slot, of requests sent.", _LABELS
        )
        self.run_s = registry.histogram(
            "headrace_request_run_seconds", "Time inside run, of requests answered.", _LABELS
        )
        self.rejected = registry.counter(
            "headrace_requests_rejected_total",
            "Requests answered without the model, by reason.",
            (*_LABELS, "reason"),
        )
        self.retries = registry.counter(
            "headrace_retries_total", "Requests sent again, by reason.", (*_LABELS, "reason")
        )
        self.mirror_sent = registry.counter(
            "headrace_mirror_sent_total", "Copies sent to a shadow deployment.", _LABELS
        )
        self.mirror_dropped = registry.counter(
            "headrace_mirror_dropped_total", "Copies dropped: the shadow was behind.", _LABELS
        )
        self.mirror_answers = registry.counter(
            "headrace_mirror_answers_total",
            "What became of copies sent to a shadow deployment, by the model's or our own code.",
            (*_LABELS, "code"),
        )
        self.hedges = registry.counter(
            "headrace_hedges_total",
            "Second copies of requests that took long (headrace.hedge), by event.",
            (*_LABELS, "event"),
        )
        self._terms = registry.counter(
            "headrace_conservation_total",
            "Requests accepted, and what became of them (headrace audit), by term.",
            ("lane", "term"),
        )
        self.in_flight = registry.gauge(
            "headrace_requests_in_flight", "Requests at an instance.", _LABELS
        )
        self.waiting = registry.gauge(
            "headrace_requests_waiting", "Requests without an instance.", _LABELS
        )
        self.oldest_s = registry.gauge(
            "headrace_oldest_waiting_seconds", "Age of the request that waits longest.", _LABELS
        )
        self.ready = registry.gauge(
            "headrace_visible_instances", "Ready instances that this process sends to.", _LABELS
        )

    def set_terms(self, terms: dict[str, int]) -> None:
        """Copy the books; what is in flight is a gauge of its own."""
        for term, count in terms.items():
            if term != "in_flight":
                self._terms.labels(ONLINE, term).value = count


class ChannelMetrics:
    """The children of one deployment, looked up once."""

    def __init__(self, metrics: GatewayMetrics, endpoint: str, deployment: str) -> None:
        labels = (endpoint, deployment, ONLINE)
        self._metrics, self._labels = metrics, labels
        self.queue_s = metrics.queue_s.labels(*labels)
        self.run_s = metrics.run_s.labels(*labels)
        self.mirror_sent = metrics.mirror_sent.labels(*labels)
        self.mirror_dropped = metrics.mirror_dropped.labels(*labels)
        self.in_flight = metrics.in_flight.labels(*labels)
        self.waiting = metrics.waiting.labels(*labels)
        self.oldest_s = metrics.oldest_s.labels(*labels)
        self.ready = metrics.ready.labels(*labels)

    def rejected(self, reason: str) -> None:
        self._metrics.rejected.labels(*self._labels, reason or "other").inc()

    def retried(self, reason: str) -> None:
        self._metrics.retries.labels(*self._labels, reason).inc()

    def mirrored(self, status: int) -> None:
        """A copy has its answer, or a refusal in its place."""
        self._metrics.mirror_answers.labels(*self._labels, str(status)).inc()

    def hedged(self, event: HedgeEvent) -> None:
        self._metrics.hedges.labels(*self._labels, event.value).inc()

    def remove(self) -> None:
        """Forget the deployment."""
        for event in HedgeEvent:
            self._metrics.hedges.remove(*self._labels, event.value)
        for family in (self._metrics.queue_s, self._metrics.run_s):
            family.remove(*self._labels)
        for counts in (self._metrics.mirror_sent, self._metrics.mirror_dropped):
            counts.remove(*self._labels)
        metrics = self._metrics
        for gauge in (metrics.in_flight, metrics.waiting, metrics.oldest_s, metrics.ready):
            gauge.remove(*self._labels)
