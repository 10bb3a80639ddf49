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
from headrace_bus.wire.head import (
    answer_head,
    is_request_head,
    request_head,
    split_answer,
    split_request,
    with_header,
)

TEXT = st.text(max_size=20)
PART = TEXT.filter(lambda text: "\0" not in text)
HEADERS = st.lists(st.tuples(PART, PART), min_size=1, max_size=4).map(tuple)
REQUEST_HEADS = st.builds(request_head, PART, PART, PART, HEADERS)
COUNT = st.integers(min_value=0, max_value=2**48)
REQUESTS = st.builds(
    Request,
    request_id=TEXT,
    deadline_ms=COUNT,
    remaining_ms=COUNT,
    timeout_ms=COUNT,
    flags=st.integers(0, 15),
    backlog=COUNT,
    head=REQUEST_HEADS,
    traceparent=TEXT,
    ingress_id=TEXT,
    body=st.binary(max_size=200),
)
ANSWERS = st.builds(
    Answer,
    kind=st.sampled_from(list(AnswerKind)).map(int),
    request_id=TEXT,
    status=st.integers(0, 999),
    exec_us=st.integers(-1, 2**40),
    free=COUNT,
    seq=COUNT,
    reason=TEXT,
    epoch=COUNT,
    head=HEADERS.map(answer_head),
    body=st.binary(max_size=200),
)


@given(PART, PART, PART, HEADERS)
def test_a_head_gives_back_its_parts(
    method: str, path: str, query: str, headers: tuple[tuple[str, str], ...]
) -> None:
    head = request_head(method, path, query, headers)
    assert is_request_head(head)
    assert split_request(head) == (method, path, query, headers)
    assert split_request(with_header(head, "a", "b"))[3] == (*headers, ("a", "b"))
    assert split_answer(answer_head(headers)) == headers


def test_a_nul_cannot_forge_a_header() -> None:
    head = request_head("POST", "/score", "", [("a", "b\0hr-body\0c")])
    assert split_request(head)[3] == (("a", "bhr-bodyc"),)
    assert split_answer(answer_head([("a", "b\0c\0d")])) == (("a", "bcd"),)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_head_of_an_answer(data: bytes) -> None:
    """They come from a user's process, and must not fail the edge."""
    split_answer(data)
    if is_request_head(data):
        split_request(data)


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


@pytest.mark.parametrize("field", Answer._fields[:-1])
@pytest.mark.parametrize("value", [None, [1], "1" * 9, 1.5])
def test_an_answer_with_a_field_of_another_type_is_refused(field: str, value: object) -> None:
    """An instance runs what its users wrote; an ingress adds these up and multiplies them."""
    answer = Answer(1, "r1", 200, 10, 1, 0, "", 7, b"", b"")
    if type(value) is type(getattr(answer, field)):
        return
    with pytest.raises(MalformedEnvelope):
        decode_answer(encode_answer(answer._replace(**{field: value})))  # type: ignore[arg-type]
