"""A streamed answer that nobody reads: told once, by what the server or the clock says."""

from __future__ import annotations

from headrace_bus.client.connection import Bus
from headrace_bus.wire.envelope import CHUNK_WINDOW, Answer, AnswerKind, Request
from headrace_scorer.job import Job
from headrace_scorer.streams import UNREAD_S, Streams

REPLY = "_INBOX.reader"


def job() -> Job:
    request = Request("one", 0, 0, 0, 0, b"", "", "in-one", b"")
    return Job(number=1, request=request, reply=REPLY, deadline_s=0.0)


def fill(streams: Streams, one: Job) -> None:
    """Send as much as may leave without credit, at time 0."""
    for number in range(CHUNK_WINDOW):
        chunk = Answer(AnswerKind.CHUNK, "one", 200, -1, 0, number, "", 7, b"", b"piece")
        assert streams.send(one, chunk, 0.0)


async def test_who_gives_no_credit_for_long_is_held_for_gone(bus: Bus) -> None:
    """The reader is there, but may have forgotten the request."""
    unread: list[Job] = []
    streams, one = Streams(bus, 7, unread.append), job()
    reader = await bus.subscribe(REPLY, lambda _: None)
    fill(streams, one)
    streams.tick(UNREAD_S)
    streams.credit(one, 1, UNREAD_S)
    streams.tick(3 * UNREAD_S)  # it waits for nobody: there is credit
    await bus.flush()
    assert unread == []

    streams.send(one, Answer(AnswerKind.CHUNK, "one", 0, -1, 0, 8, "", 7, b"", b""), 3 * UNREAD_S)
    streams.tick(4 * UNREAD_S + 1)
    streams.tick(5 * UNREAD_S + 2)
    await reader.unsubscribe()
    await bus.flush()
    assert unread == [one]


async def test_a_reader_that_is_back_soon_loses_nothing(bus: Bus) -> None:
    """One that reconnects is not there for a moment."""
    unread: list[Job] = []
    streams, one = Streams(bus, 7, unread.append), job()
    reader = await bus.subscribe(REPLY, lambda _: None)
    fill(streams, one)
    await bus.flush()
    await reader.unsubscribe()
    streams.tick(1.0)
    await bus.flush()
    streams.credit(one, 4, 1.5)
    assert unread == []


async def test_a_chunk_that_nobody_got_ends_the_stream(bus: Bus) -> None:
    unread: list[Job] = []
    streams, one = Streams(bus, 7, unread.append), job()
    streams.send(one, Answer(AnswerKind.CHUNK, "one", 200, -1, 0, 0, "", 7, b"", b""), 0.0)
    await bus.flush()

    assert unread == [one]


async def test_a_stream_that_ended_is_asked_after_no_more(bus: Bus) -> None:
    unread: list[Job] = []
    streams, one = Streams(bus, 7, unread.append), job()
    reader = await bus.subscribe(REPLY, lambda _: None)
    fill(streams, one)
    streams.forget(one)
    await reader.unsubscribe()
    streams.tick(2 * UNREAD_S)
    await bus.flush()

    assert unread == []
