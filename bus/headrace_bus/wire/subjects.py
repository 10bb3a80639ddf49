"""Every subject on the bus, as a function. No other module writes a subject.

Endpoint, deployment and instance names are already lower-case single tokens
(`headrace_api.names.check_endpoint_name`).
"""

from __future__ import annotations

from typing import NamedTuple

ROUTER_QUEUE = "router"
SYSTEM_EVENTS = "sysev.>"  # the account's own $SYS events, imported from the system account


class InstanceAddress(NamedTuple):
    """One unit of a deployment's capacity."""

    endpoint: str
    deployment: str
    iid: str


# score.<ep>
def score(endpoint: str) -> str:
    return f"score.{endpoint}"


def all_scores() -> str:
    return "score.*"


# inst.<ep>.<dep>.<iid>: requests
def instance(address: InstanceAddress) -> str:
    return f"inst.{address.endpoint}.{address.deployment}.{address.iid}"


# control.<ep>.<dep>.<iid>: want, returned grant, cancel, credit
def instance_control(address: InstanceAddress) -> str:
    return f"control.{address.endpoint}.{address.deployment}.{address.iid}"


# heartbeat.<ep>.<dep>.<iid>
def heartbeat(address: InstanceAddress) -> str:
    return f"heartbeat.{address.endpoint}.{address.deployment}.{address.iid}"


def all_heartbeats() -> str:
    return "heartbeat.*.*.*"


# heartbeat.ingress.<id>
def ingress_heartbeat(ingress_id: str) -> str:
    return f"heartbeat.ingress.{ingress_id}"


def all_ingress_heartbeats() -> str:
    return "heartbeat.ingress.*"


# wake.<ep>.<dep>
def wake(endpoint: str, deployment: str) -> str:
    return f"wake.{endpoint}.{deployment}"


def all_wakes() -> str:
    return "wake.*.*"


# changed.<ep>
def changed(endpoint: str) -> str:
    return f"changed.{endpoint}"


def all_changed() -> str:
    return "changed.*"


# event.<kind>, in the stream EVENTS
def event(kind: str) -> str:
    return f"event.{kind}"


def all_events() -> str:
    return "event.*"


def parse_heartbeat(subject: str) -> InstanceAddress:
    """Take the address out of an instance's heartbeat subject."""
    _, endpoint, deployment, iid = subject.split(".")
    return InstanceAddress(endpoint, deployment, iid)
