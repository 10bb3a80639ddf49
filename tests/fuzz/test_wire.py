"""Envelopes, records and worker frames: an input is taken or refused by name, never a crash."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from fuzz.mutate import INPUTS, SEED, hold
from headrace_bus.errors import MalformedEnvelope
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
from headrace_bus.wire.head import (
    answer_head,
    is_request_head,
    request_head,
    split_answer,
    split_request,
)
from headrace_bus.wire.heartbeat import IngressHeartbeat, InstanceHeartbeat, InstanceState
from headrace_bus.wire.instance_control import (
    Cancel,
    Credit,
    Piece,
    Pull,
    Want,
    decode_control,
    encode_control,
)
from headrace_bus.wire.launch import Launch
from headrace_bus.wire.route_record import DeploymentRoute, Route
from headrace_scorer.worker import frames

HEADERS = (("content-type", "application/json"), ("x-request-id", "one"))
REQUEST = Request(
    "r1",
    1_800_000_000_000,
    15_000,
    10_000,
    0,
    0,
    request_head("POST", "/score", "a=b", HEADERS),
    "",
    "in-1",
    b"{}",
)
ANSWER = Answer(
    kind=AnswerKind.DONE,
    request_id="r1",
    status=200,
    exec_us=20_000,
    free=3,
    seq=0,
    reason="",
    epoch=7,
    head=answer_head(HEADERS),
    body=b'{"nonce": "n1"}',
)
BEAT = InstanceHeartbeat(
    iid="i1", epoch=7, client="inst:i1", state=InstanceState.READY, slots=4, in_flight=1
)
INGRESS = IngressHeartbeat(ingress_id="in-1", online={"accepted": 3, "completed": 3})
ROUTE = Route(
    endpoint="houses", traffic={"blue": 100}, deployments={"blue": DeploymentRoute(name="blue")}
)
pytestmark = pytest.mark.timeout(60 + INPUTS // 500)


def _split(head: bytes) -> None:
    split_answer(head)
    if is_request_head(head):
        assert request_head(*split_request(head)) == head


DECODERS: dict[str, tuple[Callable[[bytes], object], list[bytes]]] = {
    "head": (_split, [REQUEST.head, ANSWER.head, b"\0" * 5]),
    "request": (decode_request, [encode_request(REQUEST)]),
    "answer": (decode_answer, [encode_answer(ANSWER)]),
    "control": (
        decode_control,
        [
            encode_control(Want(ingress_id="in-1", n=3, reply="_INBOX.x")),
            encode_control(Cancel(request_id="r1")),
            encode_control(Credit(request_id="r1", n=4)),
            encode_control(Pull(request_id="r1", first=2, n=8)),
            encode_control(Piece(request_id="r1", number=2, data=b"\0\1")),
            b"\x91" * 1000 + b"\x01",  # a kind too deep to be shown
        ],
    ),
    "instance heartbeat": (InstanceHeartbeat.decode, [BEAT.encode()]),
    "ingress heartbeat": (IngressHeartbeat.decode, [INGRESS.encode()]),
    "route": (Route.decode, [ROUTE.encode(), b"[" * 60_000]),
    "launch": (Launch.decode, [b'{"iid": "i1", "endpoint": "e"}', b'{"a":' * 20_000]),
}


@pytest.mark.parametrize("name", DECODERS)
def test_a_record_is_taken_or_refused_by_name(name: str) -> None:
    decode, base = DECODERS[name]
    hold(base, decode, MalformedEnvelope)


def test_frames_are_cut_or_refused_by_name() -> None:
    reply = frames.Reply(200, 5, "", list(HEADERS), b"{}")
    base = [
        frames.encode_call(1, REQUEST.head, b"{}"),
        frames.encode_reply(frames.ANSWER, 1, reply) + frames.encode(frames.PING, 2),
    ]
    rng = random.Random(SEED)

    def act(data: bytes) -> None:
        decoder = frames.Decoder(max_payload_bytes=1 << 20)
        cut = rng.randrange(len(data) + 1)
        for part in (data[:cut], data[cut:]):
            for kind, _, payload in decoder.feed(part):
                _decode(kind, payload)

    hold(base, act, frames.BrokenFrame)


def _decode(kind: int, payload: bytes) -> None:
    if kind == frames.REQUEST:
        frames.decode_call(payload)
    elif kind in (frames.ANSWER, frames.STREAM, frames.END):
        frames.open_reply(payload)


def test_a_record_of_a_newer_version_is_read() -> None:
    """While a cluster is updated, old processes hear new ones: a name more must not deafen them."""
    import msgpack

    fields = msgpack.unpackb(BEAT.encode()) | {"a field of tomorrow": 1}
    assert InstanceHeartbeat.decode(msgpack.packb(fields)) == BEAT
    fields = msgpack.unpackb(INGRESS.encode()) | {"a field of tomorrow": [1]}
    assert IngressHeartbeat.decode(msgpack.packb(fields)) == INGRESS
    tomorrow = ROUTE.encode().replace(b'"endpoint"', b'"tomorrow": {}, "endpoint"')
    assert Route.decode(tomorrow) == ROUTE


def test_terms_are_counts_or_refused() -> None:
    for wrong in (-1, 1.5, "1", None, True):
        with pytest.raises(MalformedEnvelope):
            Terms.decode({"accepted": wrong})
