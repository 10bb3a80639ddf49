"""Every record is read by one rule: unknown names are left out, wrong types make it unreadable."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgpack
import pytest

from headrace_api.record import Unreadable, load, load_json
from headrace_bus.errors import MalformedEnvelope
from headrace_bus.store.blob_index import BlobEntry
from headrace_bus.wire.conservation import Terms
from headrace_bus.wire.envelope import (
    Answer,
    AnswerKind,
    Request,
    decode_answer,
    decode_request,
    encode_answer,
    encode_request,
)
from headrace_bus.wire.head import request_head
from headrace_bus.wire.heartbeat import BATCHES, PULLS, IngressHeartbeat, InstanceHeartbeat
from headrace_bus.wire.launch import Launch
from headrace_bus.wire.route_record import Route
from headrace_scaler.compute.folder import InstanceRecord
from headrace_state.endpoint_keys import KeyPair
from headrace_state.records import (
    Client,
    Instance,
    IssuerKeys,
    Operation,
    OuterIssuer,
    Spec,
    Status,
    UnreadableRecord,
)

BEFORE = Path(__file__).parent / "fixtures" / "before"
REFUSED = (Unreadable, UnreadableRecord, MalformedEnvelope)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of record: its file of the release before, and how it is read."""

    file: str
    decode: Callable[[bytes], Any]
    free: tuple[str, ...] = ()
    """Fields that hold whatever a user wrote: nothing in them is unknown."""
    maps: tuple[str, ...] = ()
    """Fields with names of the user's own as keys, and records or plain values below them."""
    packed: bool = False


def _json(kind: type[Any]) -> Callable[[bytes], Any]:
    return lambda data: load_json(kind, data)


KINDS = [
    Kind(file="spec.json", decode=Spec.decode, free=("arm",)),
    Kind(file="status.json", decode=Status.decode, maps=("phases",)),
    Kind(file="operation.json", decode=Operation.decode),
    Kind(file="instance.json", decode=Instance.decode),
    Kind(file="client.json", decode=Client.decode),
    Kind(file="outer_issuer.json", decode=OuterIssuer.decode),
    Kind(file="issuer_keys.json", decode=IssuerKeys.decode),
    Kind(file="key_pair.json", decode=_json(KeyPair)),
    Kind(file="launch.json", decode=Launch.decode, maps=("environment_variables",)),
    Kind(file="route.json", decode=Route.decode, maps=("traffic", "mirror", "deployments")),
    Kind(file="record.json", decode=_json(InstanceRecord)),
    Kind(file="blob_entry.json", decode=_json(BlobEntry), maps=("metadata",)),
    Kind(file="terms.json", decode=lambda data: Terms.decode(json.loads(data))),
    Kind(
        file="instance_heartbeat.msgpack",
        decode=InstanceHeartbeat.decode,
        maps=("phases",),
        packed=True,
    ),
    Kind(
        file="ingress_heartbeat.msgpack",
        decode=IngressHeartbeat.decode,
        maps=("waiting", "in_flight", "applied", "live", "online"),
        packed=True,
    ),
]
IDS = [kind.file for kind in KINDS]


def values(kind: Kind) -> dict[str, Any]:
    data = (BEFORE / kind.file).read_bytes()
    found: dict[str, Any] = msgpack.unpackb(data) if kind.packed else json.loads(data)
    return found


def encoded(kind: Kind, found: object) -> bytes:
    return msgpack.packb(found) if kind.packed else json.dumps(found).encode()


def with_more(found: Any, kind: Kind, *, own_names: bool = False) -> Iterator[Any]:
    """Copies with one unknown name more, one for each map at every depth."""
    if isinstance(found, dict):
        if not own_names:
            yield found | {"of_a_newer_version": {"nested": [1]}}
        for name, value in found.items():
            if name not in kind.free:
                for more in with_more(value, kind, own_names=name in kind.maps):
                    yield found | {name: more}
    elif isinstance(found, list):
        for n, value in enumerate(found):
            for more in with_more(value, kind):
                yield [*found[:n], more, *found[n + 1 :]]


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_records_of_the_release_before_are_read(kind: Kind) -> None:
    kind.decode((BEFORE / kind.file).read_bytes())


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_a_name_of_a_newer_version_is_left_out_at_every_depth(kind: Kind) -> None:
    found = values(kind)
    plain = kind.decode(encoded(kind, found))
    copies = list(with_more(found, kind))
    assert copies
    for copy in copies:
        assert kind.decode(encoded(kind, copy)) == plain


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_a_value_of_another_type_makes_the_record_unreadable(kind: Kind) -> None:
    found = values(kind)
    for name, value in found.items():
        if name in kind.free or name in ("pulls", "trains"):
            continue
        wrong: object = 7 if isinstance(value, (str, list, dict)) else ["x"]
        with pytest.raises(REFUSED):
            kind.decode(encoded(kind, found | {name: wrong}))


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[]", b"null", b"7", b"{"])
def test_what_is_no_map_is_unreadable(kind: Kind, data: bytes) -> None:
    if kind.file == "terms.json":
        pytest.skip("terms are read from a heartbeat's map")
    with pytest.raises(REFUSED):
        kind.decode(data)


def test_the_message_says_where() -> None:
    route = values(KINDS[IDS.index("route.json")])
    route["deployments"]["blue"]["max_concurrent"] = "two"
    with pytest.raises(MalformedEnvelope, match=r"blue\.max_concurrent is of type str"):
        Route.decode(json.dumps(route).encode())
    launch = values(KINDS[IDS.index("launch.json")])
    del launch["model_files"][0]["digest"]
    with pytest.raises(MalformedEnvelope, match=r"it has no model_files\[0\]\.digest"):
        Launch.decode(json.dumps(launch).encode())


def test_features_of_the_release_before_are_read_and_written() -> None:
    before = (BEFORE / "instance_heartbeat.msgpack").read_bytes()
    beat = InstanceHeartbeat.decode(before)
    assert beat.features == {PULLS, BATCHES}
    written = msgpack.unpackb(beat.encode())
    assert (written["pulls"], written["trains"]) == (True, True)
    more = replace(beat, features=frozenset({PULLS, "of a newer version"}))
    assert InstanceHeartbeat.decode(more.encode()).features == more.features
    assert msgpack.unpackb(more.encode())["trains"] is False


def longer(data: bytes) -> bytes:
    """An envelope with one field more at the end of its header."""
    length = int.from_bytes(data[2:6], "big")
    header: bytes = msgpack.packb([*msgpack.unpackb(data[6 : 6 + length]), "of a newer version"])
    return data[:2] + len(header).to_bytes(4, "big") + header + data[6 + length :]


def test_envelopes_may_grow_at_their_end() -> None:
    head = request_head("POST", "/score", "", [("a", "b")])
    request = Request("r", 1, 2, 3, 4, 5, head, "t", "in", b"body")
    assert decode_request(longer(encode_request(request))) == request
    answer = Answer(int(AnswerKind.DONE), "r", 200, 1, 2, 0, "", 3, b"", b"body")
    assert decode_answer(longer(encode_answer(answer))) == answer


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    """One field of each form that the rule knows."""

    pair: tuple[str, float] = ("", 0.0)
    colour: Colour = Colour.RED
    maybe: int | None = None
    names: frozenset[str] = frozenset()
    flag: bool = False
    raw: bytes = b""
    anything: Any = None


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({}, Everything()),
        ({"pair": ["a", 1]}, Everything(pair=("a", 1))),
        ({"colour": "red", "names": ["x", "x"]}, Everything(names=frozenset({"x"}))),
        ({"maybe": 3, "anything": {"a": [1]}}, Everything(maybe=3, anything={"a": [1]})),
        ({"maybe": None, "raw": b"x", "flag": True}, Everything(raw=b"x", flag=True)),
    ],
)
def test_forms_of_fields(found: object, expected: Everything) -> None:
    assert load(Everything, found) == expected


@pytest.mark.parametrize(
    ("found", "where"),
    [
        ({"pair": ["a"]}, "pair has 1 items instead of 2"),
        ({"pair": [1, 1.0]}, r"pair\[0\] is of type int instead of str"),
        ({"colour": "blue"}, "colour is 'blue'"),
        ({"maybe": True}, "maybe is of type bool"),
        ({"flag": 1}, "flag is of type int instead of bool"),
        ({"names": "abc"}, "names is of type str instead of a list"),
        ([], "it is of type list instead of a map"),
    ],
)
def test_what_does_not_fit_is_named(found: object, where: str) -> None:
    with pytest.raises(Unreadable, match=where):
        load(Everything, found)
