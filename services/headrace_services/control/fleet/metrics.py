"""What control counts: instances by state, wanted ones, operations, and how long starts took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Final

from headrace_state.fleet_view import FleetView, ObservedInstance
from headrace_state.records import Operation
from headrace_telemetry.metrics import Registry

# A start takes milliseconds with a cached environment, and minutes while one is built.
PHASE_BOUNDS_S: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180, 600, 1800)

Deployment = tuple[str, str]
"""Endpoint and deployment, in lower case."""


def package_version() -> str:
    """Of the installed distribution."""
    try:
        return metadata.version("headrace")
    except metadata.PackageNotFoundError:
        return "0+unknown"


class FleetMetrics:
    """Families of control."""

    def __init__(self, registry: Registry, version: str) -> None:
        self.registry = registry
        self._instances = registry.gauge(
            "headrace_instances",
            "Instances by reported state, attached ones included.",
            ("endpoint", "deployment", "state"),
        )
        self._desired = registry.gauge(
            "headrace_desired_instances",
            "Instances the specification asks for.",
            ("endpoint", "deployment"),
        )
        self._operations = registry.counter(
            "headrace_operations_total", "Operations that ended.", ("verb", "status")
        )
        self._phases = registry.histogram(
            "headrace_start_phase_seconds",
            "Of instances that became ready; `ready` is the whole start.",
            ("endpoint", "deployment", "phase"),
            PHASE_BOUNDS_S,
        )
        build = registry.gauge("headrace_build_info", "Always 1.", ("version",))
        build.labels(version).set(1)

    def watch(self, view: FleetView) -> None:
        """Count live instances at each reading, and how long starts took as they end."""
        self.registry.before_render(lambda: self._count(view.live_instances()))
        view.on_first_ready(self.started)

    def wanted(self, counts: Mapping[Deployment, int]) -> None:
        """The specification of every deployment there is; others are forgotten."""
        for names, _ in self._desired.children():
            if names not in counts:
                self._desired.remove(*names)
        for names, count in counts.items():
            self._desired.labels(*names).set(count)
        for labels, _ in self._phases.children():
            if labels[:2] not in counts:
                self._phases.remove(*labels)

    def started(self, one: ObservedInstance) -> None:
        """An instance has become ready for the first time."""
        names = one.address.endpoint, one.address.deployment
        for phase, seconds in one.beat.phases.items():
            self._phases.labels(*names, phase).observe(seconds)

    def ended(self, operation: Operation) -> None:
        self._operations.labels(operation.verb, operation.status).inc()

    def _count(self, live: Iterable[ObservedInstance]) -> None:
        counts = Counter(
            (one.address.endpoint, one.address.deployment, str(one.beat.state)) for one in live
        )
        for labels, _ in self._instances.children():
            if labels not in counts:
                self._instances.remove(*labels)
        for labels, count in counts.items():
            self._instances.labels(*labels).set(count)
