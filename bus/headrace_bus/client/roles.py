"""What each role may do on the bus: least rights, by the subjects of `wire.subjects`.

An instance answers by a fixed right to the edges' inboxes. `allow_responses` would be narrower, but
answers that stream for minutes need long memories: after 100,000 requests the server had grown by
180 bytes for each and took a quarter fewer a second. Nobody but an edge can listen there; an edge
takes an answer only under the request id it sent, which only the request's instance has seen.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from headrace_bus.client.jwt import Permissions
from headrace_bus.wire.route_record import KEY_PREFIX

_EDGE_INBOXES: Final = ("_INBOX_ingress.>", "_INBOX_router.>")


class Role(StrEnum):
    """Who a credentials file is for; it is also the user's name, so the inbox is `_INBOX_<role>`.

    Processes of one role share the file and each add a random token to the inbox prefix.
    """

    CONTROL = "control"
    INGRESS = "ingress"
    ROUTER = "router"
    CALLER = "caller"  # scores over NATS; all who hold it may hear one another's answers
    ADMIN = "admin"  # the supervisor: asks whether the server lives, changes nothing


def permissions(role: Role) -> Permissions:
    inbox = f"_INBOX_{role}.>"
    if role is Role.ADMIN:
        return Permissions(publish=("$JS.API.INFO", inbox), subscribe=(inbox,))
    if role is Role.CONTROL:
        return Permissions(
            publish=(
                "$JS.API.>",
                "$JS.FC.>",
                "$KV.>",
                "changed.*",
                "control.*.*.*",
                "event.*",
                inbox,
            ),
            subscribe=("heartbeat.>", "changed.*", "wake.*.*", "sysev.>", inbox),
        )
    if role is Role.CALLER:
        return Permissions(publish=("score.*",), subscribe=(inbox,))
    edge = _edge(inbox)
    if role is Role.ROUTER:
        return Permissions(
            # Callers are NATS clients: ours with the role's credentials, others with their own.
            publish=(*edge.publish, "_INBOX.>", f"_INBOX_{Role.CALLER}.>"),
            subscribe=(*edge.subscribe, "score.* router"),
        )
    return edge


def instance_template() -> Permissions:
    """Subjects of one instance; the server fills in endpoint, deployment and instance id."""
    address = "{{tag(ep)}}.{{tag(dep)}}.{{name()}}"
    return Permissions(
        publish=(f"heartbeat.{address}", "_INBOX_{{name()}}.>", *_EDGE_INBOXES),
        subscribe=(f"inst.{address}", f"control.{address}", "_INBOX_{{name()}}.>"),
    )


def _edge(inbox: str) -> Permissions:
    """What ingress and router share: they call instances and read routes, nothing else."""
    return Permissions(
        publish=(
            "inst.*.*.*",
            "control.*.*.*",
            "wake.*.*",
            "heartbeat.ingress.*",
            *_read_routes(),
            inbox,
        ),
        subscribe=("heartbeat.>", "changed.*", "sysev.>", inbox),
    )


def _read_routes() -> tuple[str, ...]:
    """The JetStream API of list and watch (`headrace_bus.store.bucket`) on the routes in `state`.

    A feed's filter is part of the call's subject, and the server holds the body to it. A right to
    get a message would be one to every record of the bucket: variables of deployments, digests of
    clients' secrets.
    """
    stream = "KV_state"
    return (
        f"$JS.API.CONSUMER.CREATE.{stream}.*.$KV.state.{KEY_PREFIX}>",
        f"$JS.API.CONSUMER.DELETE.{stream}.*",
        f"$JS.FC.{stream}.>",
    )
