"""Who may say and hear what, for every subject there is: made from the module of subjects.

A new subject function without a row in `RIGHTS` fails here, so nobody gets a right by accident.
"""

from __future__ import annotations

import inspect
import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Final

import pytest

from headrace_bus.client.connection import Bus
from headrace_bus.client.identity import Identities
from headrace_bus.client.roles import Role
from headrace_bus.client.server import EmbeddedServer
from headrace_bus.client.settings import BusSettings
from headrace_bus.store.bucket import Bucket
from headrace_bus.wire import subjects
from headrace_bus.wire.subjects import InstanceAddress
from support.raw_nats import RawClient, raw_client

OWN: Final = InstanceAddress("ep", "blue", "i1")
OTHERS: Final = (
    InstanceAddress("ep", "blue", "i3"),  # a sibling
    InstanceAddress("ep", "green", "i2"),  # another deployment
    InstanceAddress("ep2", "blue", "i1"),  # another endpoint, the rest as its own
    InstanceAddress("ep", "green", "i1"),
)
VALUES: Final[dict[str, tuple[object, ...]]] = {
    "address": (OWN, *OTHERS),
    "endpoint": ("ep", "ep2"),
    "deployment": ("blue", "green"),
    "ingress_id": ("in-1",),
    "kind": ("done", "refused"),
}
AT_ONCE: Final = 100  # subjects between two looks at what the server complained of
BUCKETS: Final = ("spec", "state", "secrets", "blobs")

# For each function that makes a subject: who may publish there, and who may subscribe.
C, G, R, K, A = Role.CONTROL, Role.INGRESS, Role.ROUTER, Role.CALLER, Role.ADMIN
RIGHTS: Final[dict[str, tuple[set[Role], set[Role]]]] = {
    "score": ({K}, set()),
    "all_scores": (set(), set()),
    "instance": ({G, R}, set()),
    "instance_control": ({C, G, R}, set()),
    "heartbeat": (set(), {C, G, R}),
    "all_heartbeats": (set(), {C, G, R}),
    "ingress_heartbeat": ({G, R}, {C, G, R}),
    "all_ingress_heartbeats": (set(), {C, G, R}),
    "wake": ({G, R}, {C}),
    "all_wakes": (set(), {C}),
    "changed": ({C}, {C, G, R}),
    "all_changed": (set(), {C, G, R}),
    "event": ({C}, set()),
    "all_events": (set(), set()),
}
OWN_RIGHTS: Final = {
    ("publish", "heartbeat"),
    ("subscribe", "instance"),
    ("subscribe", "instance_control"),
}
_STREAM_VERBS: Final = (
    *("CREATE", "UPDATE", "DELETE", "PURGE", "INFO", "NAMES", "LIST", "MSG.GET", "MSG.DELETE"),
    *("SNAPSHOT", "RESTORE", "LEADER.STEPDOWN", "PEER.REMOVE"),
)
_CONSUMER_VERBS: Final = (
    *("CREATE", "DURABLE.CREATE", "DELETE", "INFO", "NAMES", "LIST", "MSG.NEXT", "PAUSE", "UNPIN"),
    "LEADER.STEPDOWN",
)
READS_ROUTES: Final = (
    "$JS.API.CONSUMER.CREATE.KV_state.c.$KV.state.route.k",
    *("$JS.API.CONSUMER.DELETE.KV_state.c", "$JS.FC.KV_state.c.x"),
)

# Fields of a consumer that asks for more than the routes its call names.
WIDER: Final[tuple[dict[str, object], ...]] = (
    {},
    {"filter_subject": "$KV.state.>"},
    {"filter_subject": "$KV.state.applied.>"},
    {"filter_subjects": ["$KV.state.>"]},
    {"filter_subjects": ["$KV.state.route.>", "$KV.state.applied.>"]},
    {"filter_subject": "$KV.state.route.>", "filter_subjects": ["$KV.state.applied.>"]},
)


def _all() -> Iterator[tuple[str, str, bool]]:
    """Name of the function, a subject it makes, and whether that is the instance's own."""
    for name, make in inspect.getmembers(subjects, inspect.isfunction):
        if make.__module__ != subjects.__name__ or name.startswith("parse_"):
            continue
        parameters = inspect.signature(make).parameters
        for values in itertools.product(*(VALUES[one] for one in parameters)):
            yield name, make(*values), OWN in values


def _wider(subject: str) -> Iterator[str]:
    """Every subject with a wildcard that covers this one."""
    tokens = subject.split(".")
    for at in range(len(tokens)):
        yield ".".join([*tokens[:at], "*", *tokens[at + 1 :]])
        yield ".".join([*tokens[:at], ">"])


def _storage() -> Iterator[str]:
    """Every verb of JetStream's API on every bucket, and the buckets' own subjects."""
    yield from ("$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST")
    yield from ("$JS.API.ACCOUNT.PURGE.x", "$JS.API.META.LEADER.STEPDOWN", "$JS.API.SERVER.REMOVE")
    for bucket in BUCKETS:
        stream = f"KV_{bucket}"
        yield from (f"$JS.API.STREAM.{verb}.{stream}" for verb in _STREAM_VERBS)
        yield from (f"$JS.API.CONSUMER.{verb}.{stream}.c" for verb in _CONSUMER_VERBS)
        yield f"$JS.API.CONSUMER.CREATE.{stream}.c.$KV.{bucket}.k"
        yield f"$JS.API.CONSUMER.CREATE.{stream}.c.$KV.{bucket}.route.k"
        yield f"$JS.API.CONSUMER.CREATE.{stream}.c.>"
        yield f"$JS.API.DIRECT.GET.{stream}"
        yield f"$JS.API.DIRECT.GET.{stream}.$KV.{bucket}.k"
        yield f"$JS.ACK.{stream}.c.1.1.1.1.0"
        yield f"$JS.FC.{stream}.c.x"
        yield f"$KV.{bucket}.a.b"


def _platform() -> Iterator[str]:
    """Inboxes of every role, the system account, the services and everything at once."""
    yield from (f"_INBOX_{role}.a.b" for role in Role)
    yield from (f"_INBOX_{one.iid}.x" for one in OTHERS if one.iid != OWN.iid)
    yield from ("_INBOX.x", "_INBOX_i10.x", "$SYS.REQ.SERVER.PING", "$SYS.REQ.ACCOUNT.PING.CONNZ")
    yield from ("$SYS.REQ.USER.INFO", "$SYS.ACCOUNT.x.DISCONNECT", "$SYS.SERVER.x.SHUTDOWN")
    yield from ("sysev.DISCONNECT", "$SRV.PING", "$SRV.INFO.x", "anything", "a.b.c.d")


def test_every_subject_has_a_row_of_rights() -> None:
    assert {name for name, _, _ in _all()} == set(RIGHTS)


async def _taken(client: RawClient, subjects: Iterable[str]) -> set[str]:
    """What the server lets this client do on subjects where it may do nothing."""
    wanted = sorted(set(subjects))
    exact = [one for one in wanted if "*" not in one and ">" not in one]
    refused: set[tuple[str, str]] = set()
    for at in range(0, len(wanted), AT_ONCE):
        some = wanted[at : at + AT_ONCE]
        refused |= await client.refused(publish=set(some) & set(exact), subscribe=some)
    asked = {("publish", one) for one in exact} | {("subscription", one) for one in wanted}
    # The client hands on what the server says in lower case.
    return {f"{act} {one}" for act, one in asked if (act, one.lower()) not in refused}


async def test_an_instance_does_on_every_subject_what_is_its_own_and_no_more(
    server: EmbeddedServer, identities: Identities
) -> None:
    wrong = []
    async with raw_client(server.url, identities.mint_instance(OWN)) as instance:
        for name, subject, own in _all():
            for act in ("publish", "subscribe"):
                if act == "publish" and "*" in subject:
                    continue
                may = instance.may_publish if act == "publish" else instance.may_subscribe
                if await may(subject) != (own and (act, name) in OWN_RIGHTS):
                    wrong.append(f"{act} {subject}")
        assert (
            await _taken(instance, (wide for _, one, _ in _all() for wide in _wider(one))) == set()
        )

    assert wrong == []


async def test_an_instance_reaches_no_stream_and_nobody_of_the_platform(
    server: EmbeddedServer, identities: Identities
) -> None:
    subjects = [*_storage(), *_platform()]
    async with raw_client(server.url, identities.mint_instance(OWN)) as instance:
        found = await _taken(
            instance, (*subjects, *(wide for one in subjects for wide in _wider(one)))
        )

    assert found == {f"publish _INBOX_{role}.a.b" for role in (Role.INGRESS, Role.ROUTER)}


@pytest.mark.parametrize("role", list(Role))
async def test_a_role_does_on_every_subject_what_its_row_says(
    server: EmbeddedServer, identities: Identities, role: Role
) -> None:
    wrong = []
    async with raw_client(server.url, identities.role_credentials(role)) as client:
        for name, subject, _ in _all():
            publishers, subscribers = RIGHTS[name]
            if "*" not in subject and await client.may_publish(subject) != (role in publishers):
                wrong.append(f"publish {subject}")
            if await client.may_subscribe(subject) != (role in subscribers):
                wrong.append(f"subscribe {subject}")

    assert wrong == []


@pytest.mark.parametrize("role", [one for one in Role if one is not Role.CONTROL])
async def test_only_control_writes_a_stream_and_edges_read_only_routes(
    server: EmbeddedServer, identities: Identities, role: Role
) -> None:
    """Control is left out: all of JetStream is its own."""
    async with raw_client(server.url, identities.role_credentials(role)) as client:
        may = {one for one in _storage() if await client.may_publish(one)}
        hears = [one for one in _storage() if await client.may_subscribe(one)]

    edge = role in (Role.INGRESS, Role.ROUTER)
    assert may == (set(READS_ROUTES) if edge else {"$JS.API.INFO"} if role is Role.ADMIN else set())
    assert hears == []


@pytest.mark.parametrize("role", list(Role))
async def test_a_role_hears_its_own_inbox_and_no_other(
    server: EmbeddedServer, identities: Identities, role: Role
) -> None:
    async with raw_client(server.url, identities.role_credentials(role)) as client:
        heard = {one for one in _platform() if await client.may_subscribe(one)}

    events = {"sysev.DISCONNECT"} if role in (C, G, R) else set()
    assert heard == {f"_INBOX_{role}.a.b"} | events


@pytest.mark.xfail(reason="the server does not judge reply subjects; docs/security.md says so")
@pytest.mark.parametrize("role", [Role.INGRESS, Role.ROUTER])
async def test_an_edge_does_not_make_the_server_write_for_it(
    server: EmbeddedServer, identities: Identities, role: Role
) -> None:
    """A reply subject is one the server publishes on: its answer would be a record there."""
    control = await Bus.connect(
        BusSettings(url=server.url, name="control", credentials=identities.mint_role(Role.CONTROL))
    )
    async with control, raw_client(server.url, identities.role_credentials(role)) as edge:
        state, spec = [await Bucket.open(control, name) for name in ("state", "spec")]
        await state.create("route.k", b"v")
        body = json.dumps({"stream_name": "KV_state", "config": {"name": "c"}}).encode()
        create = "$JS.API.CONSUMER.CREATE.KV_state.c.$KV.state.route.k"
        await edge.publish(create, body, reply="$KV.spec.reply")
        await edge.rtt()

        assert await spec.list() == {}


@pytest.mark.parametrize("role", [Role.INGRESS, Role.ROUTER])
async def test_an_edge_reads_no_record_but_routes_whatever_it_asks_for(
    server: EmbeddedServer, identities: Identities, role: Role
) -> None:
    """The call names the filter, which rights can judge, and the server holds the body to it."""
    control = await Bus.connect(
        BusSettings(url=server.url, name="control", credentials=identities.mint_role(Role.CONTROL))
    )
    api, inbox = "$JS.API.CONSUMER.CREATE.KV_state", f"_INBOX_{role}.stolen"
    async with control, raw_client(server.url, identities.role_credentials(role)) as edge:
        state = await Bucket.open(control, "state")
        await state.create("applied.deployment.e.d", b"variables")
        await state.create("route.e", b"route")
        for number, wanted in enumerate(WIDER):
            name = f"c{number}"
            config = {"deliver_subject": inbox, "ack_policy": "none", "name": name, **wanted}
            body = json.dumps({"stream_name": "KV_state", "config": config}).encode()
            answer = await edge.request(f"{api}.{name}.$KV.state.route.>", body, timeout=30.0)
            assert "error" in json.loads(answer.data), wanted
