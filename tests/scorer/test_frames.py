"""Frames come out as they went in, however the stream is cut, and nothing else is taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_bus.wire.head import request_head
from headrace_scorer.worker import frames
from scorer.worker_child import decode_reply

TEXT = st.text(max_size=20).filter(lambda text: "\0" not in text)
PAIRS = st.lists(st.tuples(TEXT, TEXT), max_size=4)
CALLS = st.builds(frames.Call, TEXT, TEXT, TEXT, PAIRS, st.binary(max_size=200))
REPLIES = st.builds(
    frames.Reply, st.integers(0, 999), st.integers(-1, 2**40), TEXT, PAIRS, st.binary(max_size=200)
)


@given(st.lists(CALLS, max_size=6), st.integers(1, 50))
def test_calls_survive_any_cut(calls: list[frames.Call], step: int) -> None:
    heads = [request_head(one.method, one.path, one.query, one.headers) for one in calls]
    stream = b"".join(
        frames.encode_call(i, head, call.body)
        for i, (head, call) in enumerate(zip(heads, calls, strict=True))
    )
    decoder, found = frames.Decoder(), []
    for at in range(0, len(stream), step):
        found += decoder.feed(stream[at : at + step])
    assert [frames.decode_call(payload) for _, _, payload in found] == calls
    assert [number for _, number, _ in found] == list(range(len(calls)))


@given(REPLIES)
def test_replies_survive(reply: frames.Reply) -> None:
    ((kind, number, payload),) = frames.Decoder().feed(frames.encode_reply(frames.END, 9, reply))
    assert (kind, number, decode_reply(payload)) == (frames.END, 9, reply)


@given(st.binary(max_size=100))
def test_rubbish_of_a_worker_is_refused_or_incomplete(data: bytes) -> None:
    try:
        found = frames.Decoder(max_payload_bytes=1000).feed(data)
        for _, _, payload in found:
            frames.open_reply(payload)
    except frames.BrokenFrame:
        return


def test_a_frame_beyond_the_bound_is_refused_before_it_is_held() -> None:
    head = frames.HEAD.pack(2**31, frames.ANSWER, 1)
    with pytest.raises(frames.BrokenFrame):
        frames.Decoder().feed(head)
    slow = frames.Decoder()
    slow.feed(head[:5])
    with pytest.raises(frames.BrokenFrame):
        slow.feed(head[5:])


def test_a_nul_cannot_forge_a_header() -> None:
    reply = frames.Reply(200, 5, "", [("a", "b\0c")], b"")
    with pytest.raises(frames.BrokenFrame):
        frames.encode_reply(frames.ANSWER, 1, reply)
