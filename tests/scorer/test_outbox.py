"""Answers of a worker that share a write."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from headrace_scorer.worker.outbox import HELD_MAX, HELD_US, Outbox


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def arrived(end: socket.socket) -> bytes:
    try:
        return end.recv(65536)
    except BlockingIOError:
        return b""


def after_quick_runs(ours: socket.socket, theirs: socket.socket) -> Outbox:
    """An outbox that knows its model to take 10 us."""
    out = Outbox(ours)
    for _ in range(200):
        out.hold_briefly(b"-", 10)
        arrived(theirs)
    out.flush()
    arrived(theirs)
    return out


def test_a_model_nothing_is_known_of_is_answered_at_once(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    Outbox(ours).hold_briefly(b"a", 900)

    assert arrived(theirs) == b"a"


def test_answers_of_a_quick_model_share_a_write_of_bounded_size(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    out = after_quick_runs(ours, theirs)

    for _ in range(HELD_MAX - 1):
        out.hold_briefly(b"a", 10)
    assert arrived(theirs) == b""
    assert len(out) == HELD_MAX - 1
    out.hold_briefly(b"z", 10)
    assert arrived(theirs) == b"a" * (HELD_MAX - 1) + b"z"


def test_a_model_that_grows_slow_is_answered_at_once_again(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    out = after_quick_runs(ours, theirs)

    out.hold_briefly(b"a", 100 * HELD_US)
    assert arrived(theirs) == b"a"
    out.hold_briefly(b"b", 10)
    assert arrived(theirs) == b"b", "the mean remembers"


def test_an_answer_without_a_time_waits_for_nobody_and_takes_the_others_along(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    out = after_quick_runs(ours, theirs)

    out.hold_briefly(b"a", 10)
    out.hold_briefly(b"b", -1)

    assert arrived(theirs) == b"ab"
