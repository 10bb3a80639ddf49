"""Envelopes that share a message come apart as they were put together."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.test_envelope import REQUESTS
from headrace_bus.errors import MalformedEnvelope
from headrace_bus.wire.batch import couple, uncouple
from headrace_bus.wire.envelope import decode_request, encode_request

HEAD = couple([b"a", b"b"])[:2]


@given(st.lists(REQUESTS, min_size=1, max_size=5))
def test_requests_come_apart_in_their_order(requests: list[object]) -> None:
    envelopes = [encode_request(one) for one in requests]  # type: ignore[arg-type]
    assert [decode_request(one) for one in uncouple(couple(envelopes))] == requests


def test_one_envelope_alone_is_what_a_peer_of_an_older_version_reads() -> None:
    assert couple([b"envelope"]) == b"envelope"


@pytest.mark.parametrize(
    "broken",
    [
        couple([b"one", b"two"])[:-1],
        couple([b"one", b"two"]) + b"\0",
        HEAD,
        HEAD + b"\xdd\xff\xff\xff\xff",
        HEAD + msgpack.packb([b"one", "two"]),
        HEAD + msgpack.packb({b"one": b"two"}),
        HEAD + msgpack.packb(7),
    ],
)
def test_what_nobody_coupled_is_refused(broken: bytes) -> None:
    with pytest.raises(MalformedEnvelope):
        uncouple(broken)


@given(st.binary(max_size=40))
def test_any_bytes_are_envelopes_or_refused(data: bytes) -> None:
    for start in (data, HEAD + data):
        try:
            assert all(type(one) is bytes for one in uncouple(start))
        except MalformedEnvelope:
            assert start.startswith(HEAD)
