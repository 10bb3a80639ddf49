"""A streamed answer: whether anybody reads it, and what is said again after a cut."""

from __future__ import annotations

import json

import pytest

from headrace_bus.client.connection import Bus
from headrace_bus.wire.envelope import (
    CHUNK_WINDOW,
    Answer,
    AnswerKind,
    Request,
    RequestFlag,
    decode_answer,
)
from headrace_bus.wire.instance_control import Credit
from headrace_scorer.execution import Execution
from headrace_scorer.streams import UNREAD_S, Streams
from headrace_scorer.transfers import NOBODY_TIMES
from scorer.caller import Caller, connect
from scorer.conftest import Serve
from scorer.test_serving import ASYNC, FAULTY
from support.nats_server import NatsServer

REPLY = "_INBOX.reader"


def watched(bus: Bus) -> tuple[Streams, Execution, list[Execution]]:
    """The streams of an instance, a request, and whose reader has gone."""
    request = Request("one", 0, 0, 0, 0, 0, b"", "", "in-one", b"")
    unread: list[Execution] = []
    execution = Execution(number=1, request=request, reply=REPLY, deadline_s=0.0)
    return Streams(bus, 7, unread.append), execution, unread


def send(streams: Streams, one: Execution, *numbers: int, now: float = 0.0) -> None:
    for number in numbers:
        chunk = Answer(AnswerKind.CHUNK, "one", 200, 1, 0, number, "", 7, b"", b"piece")
        assert streams.send(one, chunk, now)


async def test_who_gives_no_credit_for_long_is_held_for_gone(bus: Bus) -> None:
    """The reader is there, but may have forgotten the request."""
    streams, one, unread = watched(bus)
    reader = await bus.subscribe(REPLY, lambda _: None)
    send(streams, one, *range(CHUNK_WINDOW))
    streams.tick(UNREAD_S)
    streams.credit(one, 1, UNREAD_S)
    streams.tick(3 * UNREAD_S)  # it waits for nobody: there is credit
    await bus.flush()
    assert unread == []

    send(streams, one, CHUNK_WINDOW, now=3 * UNREAD_S)
    streams.tick(4 * UNREAD_S + 1)
    streams.tick(5 * UNREAD_S + 2)
    await reader.unsubscribe()
    await bus.flush()
    assert unread == [one]


async def test_a_reader_that_is_back_soon_loses_nothing(bus: Bus) -> None:
    """One that reconnects is not there for a moment."""
    streams, one, unread = watched(bus)
    reader = await bus.subscribe(REPLY, lambda _: None)
    send(streams, one, *range(CHUNK_WINDOW))
    await bus.flush()
    await reader.unsubscribe()
    for number in range(NOBODY_TIMES):
        streams.tick(float(number))
        await bus.flush()
    streams.credit(one, 4, 5.0)
    for number in range(NOBODY_TIMES):
        streams.tick(6.0 + number)
    assert unread == []


@pytest.mark.parametrize("had_some", [True, False])
async def test_a_chunk_that_nobody_got_ends_the_stream(bus: Bus, had_some: bool) -> None:
    """At once where the reader had some of it; else it may come back, and gets all of them."""
    streams, one, unread = watched(bus)
    reader = await bus.subscribe(REPLY, lambda _: None)
    send(streams, one, 0)
    if had_some:
        streams.credit(one, 1, 0.0)
    await bus.flush()
    await reader.unsubscribe()
    send(streams, one, 1)
    await bus.flush()
    assert unread == [one] * had_some
    for number in range(NOBODY_TIMES + 1):
        streams.tick(float(number))
        await bus.flush()

    assert unread == [one]


async def test_a_reader_that_comes_back_gets_all_of_what_it_missed(bus: Bus) -> None:
    streams, one, _ = watched(bus)
    send(streams, one, *range(3))
    await bus.flush()
    got: list[Answer] = []
    await bus.subscribe(REPLY, lambda message: got.append(decode_answer(message.data)))
    streams.again(one)
    await bus.flush()

    assert [answer.seq for answer in got] == [0, 1, 2]


async def test_a_stream_that_ended_is_asked_after_no_more(bus: Bus) -> None:
    streams, one, unread = watched(bus)
    reader = await bus.subscribe(REPLY, lambda _: None)
    send(streams, one, *range(CHUNK_WINDOW))
    streams.forget(one)
    await reader.unsubscribe()
    streams.tick(2 * UNREAD_S)
    await bus.flush()

    assert unread == []


@pytest.mark.parametrize("n", [4, 100], ids=["ended", "waits"])
async def test_a_stream_of_which_nothing_came_is_said_again(serve: Serve, n: int) -> None:
    """The connection of its ingress broke: the same run, from its first piece on."""
    _, caller = await serve(FAULTY)
    request = caller.request(json.dumps({"do": "stream", "n": n, "text": "ab"}).encode())
    answers = caller.send(request)
    first = [await answers.get() for _ in range(min(n + 2, CHUNK_WINDOW))]
    caller.send(request._replace(flags=int(RequestFlag.RESENT)))
    again = [await answers.get() for _ in first]

    assert again == first
    assert (first[-1].kind == AnswerKind.END) == (n == 4)
    assert len({one.exec_us for one in first if one.kind == AnswerKind.CHUNK}) == 1


async def test_a_stream_whose_reader_had_some_of_it_is_not_said_again(serve: Serve) -> None:
    _, caller = await serve(FAULTY)
    request = caller.request(json.dumps({"do": "stream", "n": 100, "text": "ab"}).encode())
    answers = caller.send(request)
    for _ in range(CHUNK_WINDOW):
        await answers.get()
    caller.control(Credit(request_id=request.request_id, n=1))
    assert (await answers.get()).seq == CHUNK_WINDOW
    caller.send(request._replace(flags=int(RequestFlag.RESENT)))
    caller.control(Credit(request_id=request.request_id, n=1))

    assert (await answers.get()).seq == CHUNK_WINDOW + 1


@pytest.mark.parametrize("script", [FAULTY, ASYNC], ids=["sync", "async"])
@pytest.mark.parametrize("credit", [0, 2**30], ids=["waits", "flows"])
async def test_a_stream_whose_reader_has_gone_gives_its_slot_back(
    serve: Serve, nats: NatsServer, script: str, credit: int
) -> None:
    """An ingress that was killed sends no cancel."""
    instance, caller = await serve(script)
    request = caller.request(json.dumps({"do": "stream", "n": 10**9, "text": "ab"}).encode())
    answers = caller.send(request)
    for _ in range(CHUNK_WINDOW):
        await answers.get()
    if credit:
        caller.control(Credit(request_id=request.request_id, n=credit))
        await answers.get()
    await caller.go()
    async with await connect(nats.url) as bus:
        another = await Caller(bus, instance.address).open()
        assert (await another.ask({})).status == 200
