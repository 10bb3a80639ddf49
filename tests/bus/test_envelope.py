"""The envelope gives back what was put in, and refuses what it did not make."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_bus.errors import MalformedEnvelope
from headrace_bus.wire.envelope import (
    Answer,
    AnswerKind,
    Request,
    decode_answer,
    decode_request,
    encode_answer,
    encode_request,
)

TEXT = st.text(max_size=20)
HEADERS = st.lists(st.tuples(TEXT, TEXT), max_size=4).map(tuple)
COUNT = st.integers(min_value=0, max_value=2**48)
REQUESTS = st.builds(
    Request,
    request_id=TEXT,
    deadline_ms=COUNT,
    remaining_ms=COUNT,
    timeout_ms=COUNT,
    flags=st.integers(0, 15),
    method=TEXT,
    path=TEXT,
    query=TEXT,
    headers=HEADERS,
    traceparent=TEXT,
    ingress_id=TEXT,
    body=st.binary(max_size=200),
)
ANSWERS = st.builds(
    Answer,
    kind=st.sampled_from(list(AnswerKind)).map(int),
    request_id=TEXT,
    status=st.integers(0, 999),
    headers=HEADERS,
    exec_us=st.integers(-1, 2**40),
    free=COUNT,
    seq=COUNT,
    reason=TEXT,
    epoch=COUNT,
    body=st.binary(max_size=200),
)


@given(REQUESTS)
def test_a_request_survives_the_wire(request_: Request) -> None:
    assert decode_request(encode_request(request_)) == request_


@given(ANSWERS)
def test_an_answer_survives_the_wire(answer: Answer) -> None:
    assert decode_answer(encode_answer(answer)) == answer


@given(st.binary(max_size=100))
def test_other_bytes_are_refused(data: bytes) -> None:
    for decode in (decode_request, decode_answer):
        try:
            decode(data)
        except MalformedEnvelope:
            continue


@given(REQUESTS, st.data())
def test_a_cut_envelope_is_refused_or_has_a_shorter_body(
    request_: Request, data: st.DataObject
) -> None:
    encoded = encode_request(request_)
    cut = encoded[: data.draw(st.integers(0, len(encoded) - 1))]
    header_bytes = len(encoded) - len(request_.body)

    if len(cut) < header_bytes:
        with pytest.raises(MalformedEnvelope):
            decode_request(cut)
    else:
        assert decode_request(cut).body == request_.body[: len(cut) - header_bytes]
