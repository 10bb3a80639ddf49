"""Publish, subscribe, request, inboxes and reconnects of Bus against a real server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import uvloop

from headrace_api.errors import InvalidInput, Unauthorized
from headrace_bus.client.connection import Bus, Message
from headrace_bus.client.inbox import ReplyMux
from headrace_bus.client.settings import BusSettings
from headrace_bus.errors import (
    BusDisconnected,
    JetStreamRefused,
    NoResponders,
    PayloadTooLarge,
    RequestTimeout,
)
from support.nats_server import NatsServer

BOUND_S = 30.0  # ends failed tests only


def settings(server: NatsServer, name: str = "test") -> BusSettings:
    return BusSettings(url=server.url, name=name, reconnect_wait_s=0.05, ping_interval_s=0.2)


@pytest.fixture
async def bus(nats_server: NatsServer) -> AsyncIterator[Bus]:
    async with await Bus.connect(settings(nats_server)) as bus:
        yield bus


@pytest.fixture
async def other(nats_server: NatsServer) -> AsyncIterator[Bus]:
    async with await Bus.connect(settings(nats_server, "other")) as bus:
        yield bus


async def echo_on(bus: Bus, subject: str) -> None:
    await bus.subscribe(subject, lambda m: bus.publish(m.reply, m.data) if m.reply else None)
    await bus.flush()


class Collected:
    """A handler that keeps messages, and an event for the n-th."""

    def __init__(self, count: int) -> None:
        self.messages: list[Message] = []
        self._count = count
        self._full = asyncio.Event()

    def __call__(self, message: Message) -> None:
        self.messages.append(message)
        if len(self.messages) == self._count:
            self._full.set()

    async def all(self) -> list[bytes]:
        await asyncio.wait_for(self._full.wait(), BOUND_S)
        return [message.data for message in self.messages]


async def outage(server: NatsServer, *buses: Bus) -> None:
    """Kill the server and return when every bus knows."""
    events = [asyncio.Event() for _ in buses]
    for bus, event in zip(buses, events, strict=True):
        bus.on_disconnect(event.set)
    server.kill()
    await asyncio.wait_for(asyncio.gather(*(event.wait() for event in events)), BOUND_S)


async def test_messages_arrive_in_the_order_they_were_published(bus: Bus, other: Bus) -> None:
    got = Collected(1000)
    await other.subscribe("a.>", got)
    await other.flush()
    for number in range(1000):
        bus.publish(f"a.{number % 3}", b"%d" % number)

    assert await got.all() == [b"%d" % number for number in range(1000)]


async def test_headers_and_reply_reach_the_handler(bus: Bus) -> None:
    got = Collected(1)
    await bus.subscribe("a", got)
    bus.publish("a", b"body", "where.to", {"Traceparent": "00-x", "B": ""})
    await got.all()

    message = got.messages[0]
    assert (message.subject, message.reply, message.data) == ("a", "where.to", b"body")
    assert message.headers == {"Traceparent": "00-x", "B": ""}
    assert not message.no_responders


@pytest.mark.parametrize("size", [0, 1, 40_000, 1_000_000, 8_000_000])
async def test_bodies_of_every_size_come_back_unchanged(bus: Bus, other: Bus, size: int) -> None:
    await echo_on(other, "echo")
    body = (b"0123456789\r\n" * (size // 12 + 1))[:size]

    answers = await asyncio.gather(*(bus.request("echo", body, BOUND_S) for _ in range(3)))

    assert [answer.data == body for answer in answers] == [True] * 3


async def test_a_queue_group_hands_each_message_to_one_member(bus: Bus, other: Bus) -> None:
    got = Collected(50)
    for member in (bus, other):
        await member.subscribe("work", got, "q")
        await member.flush()
    for number in range(50):
        bus.publish("work", b"%d" % number)

    assert sorted(await got.all()) == sorted(b"%d" % number for number in range(50))


async def test_a_handler_that_raises_costs_its_message_only(bus: Bus) -> None:
    got = Collected(1)

    def fragile(message: Message) -> None:
        if message.data == b"bad":
            raise RuntimeError("a mistake of the handler")
        got(message)

    await bus.subscribe("a", fragile)
    bus.publish("a", b"bad")
    bus.publish("a", b"good")

    assert await got.all() == [b"good"]


async def test_nobody_listening_is_told_at_once(bus: Bus) -> None:
    with pytest.raises(NoResponders, match="nobody"):
        await bus.request("nobody", b"", 30)


async def test_a_silent_listener_is_a_timeout_and_requests_time_out_each_at_its_own(
    bus: Bus,
) -> None:
    await bus.subscribe("mute", lambda _: None)
    long = bus.request("mute", b"", 30)
    begin = time.monotonic()
    with pytest.raises(RequestTimeout):
        await bus.request("mute", b"", 0.1)

    assert 0.1 <= time.monotonic() - begin < 25
    assert not long.done()
    await bus.close()
    with pytest.raises(BusDisconnected):
        await long


async def test_an_inbox_takes_many_answers_until_it_is_closed(bus: Bus, other: Bus) -> None:
    def answer(message: Message) -> None:
        for number in range(3):
            other.publish(message.reply, b"%d" % number)

    await other.subscribe("many", answer)
    await other.flush()
    got = Collected(3)
    inbox = bus.open_inbox(got)
    bus.publish("many", b"", inbox.subject)
    assert await got.all() == [b"0", b"1", b"2"]

    inbox.close()
    bus.publish("many", b"", inbox.subject)
    await asyncio.gather(bus.flush(), other.flush())
    await bus.flush()
    assert len(got.messages) == 3


async def test_what_is_put_off_to_the_end_of_a_turn_leaves_behind_what_came_before(
    bus: Bus, other: Bus
) -> None:
    """Once, and whoever fails at it stops nobody else."""
    got = Collected(4)
    await other.subscribe("a", got)
    await other.flush()

    bus.before_write(lambda: bus.publish("a", b"2"))
    bus.before_write(lambda: bus.publish("a", b"", headers={"\n": "refused"}))
    bus.before_write(lambda: bus.publish("a", b"3"))
    bus.publish("a", b"1")
    await bus.flush()
    bus.publish("a", b"4")

    assert await got.all() == [b"1", b"2", b"3", b"4"]


async def test_a_close_takes_what_was_put_off_with_it(bus: Bus, other: Bus) -> None:
    got = Collected(1)
    await other.subscribe("a", got)
    await other.flush()
    bus.before_write(lambda: bus.publish("a", b"last"))
    await bus.close()

    assert await got.all() == [b"last"]


async def test_no_responders_reach_an_inbox_as_a_message(bus: Bus) -> None:
    got = Collected(1)
    inbox = bus.open_inbox(got)
    bus.publish("nobody", b"", inbox.subject)
    await got.all()

    assert got.messages[0].no_responders
    assert got.messages[0].asked == "nobody"


async def test_answered_and_abandoned_requests_leave_nothing_behind() -> None:
    mux = ReplyMux("_INBOX.x")
    kept, future = mux.expect("a", 60)
    mux.receive(kept.encode(), b"", b"answer", None)
    assert (await future).data == b"answer"
    dropped, _ = mux.expect("a", 60)
    mux.forget(dropped)
    mux.receive(dropped.encode(), b"", b"late", None)
    mux.receive(b"_INBOX.x.nonsense", b"", b"", None)

    assert len(mux) == 0
    assert not mux._due
    mux.close()


@pytest.mark.parametrize("subject", ["", "a b", "a\r\nPUB b 0", "a\tb", "a\x00"])
async def test_a_subject_cannot_inject_protocol(bus: Bus, subject: str) -> None:
    with pytest.raises(InvalidInput):
        bus.publish(subject, b"")
    with pytest.raises(InvalidInput):
        await bus.subscribe(subject, lambda _: None)
    with pytest.raises(InvalidInput):
        bus.publish("a", b"", subject or " ")
    with pytest.raises(InvalidInput):
        bus.publish("a", b"", headers={"bad name\r\n": ""})
    await bus.flush()


@pytest.mark.parametrize("subject", ["a..b", "a.", ".a", "a.>.b", "a*", "a.b>"])
async def test_a_subscription_the_server_would_refuse_is_never_sent(bus: Bus, subject: str) -> None:
    with pytest.raises(InvalidInput):
        await bus.subscribe(subject, lambda _: None)


async def test_an_outage_keeps_subscriptions_and_sends_what_waited(
    bus: Bus, other: Bus, nats_server: NatsServer
) -> None:
    got = Collected(3)
    await other.subscribe("a", got)
    await other.flush()
    back = asyncio.Event()
    bus.on_reconnect(back.set)
    await outage(nats_server, bus, other)
    assert not bus.connected

    nats_server.start()
    await other.flush()
    bus.publish("a", b"0")
    bus.publish("a", b"1")
    await asyncio.wait_for(back.wait(), BOUND_S)
    bus.publish("a", b"2")

    assert await got.all() == [b"0", b"1", b"2"]


async def test_a_request_under_way_is_answered_after_the_outage(
    bus: Bus, other: Bus, nats_server: NatsServer
) -> None:
    """Its worker had it before the server died, and answers when both sides are back."""
    taken = Collected(1)
    await other.subscribe("slow", taken)
    await other.flush()
    answer = bus.request("slow", b"x", 20)
    await taken.all()
    await outage(nats_server, bus, other)
    nats_server.start()
    await asyncio.gather(bus.flush(), other.flush())
    other.publish(taken.messages[0].reply, b"done")

    assert (await answer).data == b"done"


async def test_what_waits_for_a_server_is_bounded(nats_server: NatsServer) -> None:
    small = BusSettings(url=nats_server.url, name="t", pending_bytes=10_000)
    async with await Bus.connect(small) as bus:
        await outage(nats_server, bus)
        for _ in range(9):
            bus.publish("a", bytes(1000))
        with pytest.raises(BusDisconnected, match="bytes wait"):
            bus.publish("a", bytes(1000))
        with pytest.raises(BusDisconnected):
            bus.request("a", bytes(1000), 1)
        with pytest.raises(BusDisconnected):
            await bus.flush(0.1)


async def test_a_flush_that_the_outage_cuts_says_so_at_once(
    bus: Bus, nats_server: NatsServer
) -> None:
    nats_server.pause()
    flushed = asyncio.create_task(bus.flush(30))
    await asyncio.sleep(0)
    nats_server.kill()

    with pytest.raises(BusDisconnected, match="broke"):
        await asyncio.wait_for(flushed, BOUND_S)


async def test_a_frozen_server_is_given_up(bus: Bus, nats_server: NatsServer) -> None:
    """Two pings without a pong: publishes are kept from then on instead of lost."""
    lost = asyncio.Event()
    bus.on_disconnect(lost.set)
    nats_server.pause()
    try:
        await asyncio.wait_for(lost.wait(), BOUND_S)
    finally:
        nats_server.resume()
    await bus.flush()


async def test_a_server_behind_gets_everything_once_it_reads_again(
    bus: Bus, other: Bus, nats_server: NatsServer
) -> None:
    got = Collected(40)
    await other.subscribe("big", got)
    await other.flush()
    for number in range(40):
        bus.publish("big", b"%d" % number + bytes(1_000_000))
        await bus.writable()

    assert [data.rstrip(b"\0") for data in await got.all()] == [b"%d" % n for n in range(40)]


async def test_drain_ends_every_subscription_and_still_sends_answers(bus: Bus, other: Bus) -> None:
    taken = Collected(1)
    await other.subscribe("a", taken)
    await other.flush()
    answer = bus.request("a", b"x", 5)
    await bus.flush()
    await other.drain()
    with pytest.raises(NoResponders):
        await bus.request("a", b"y", 5)
    other.publish(taken.messages[0].reply, b"late")

    assert (await answer).data == b"late"


async def test_close_sends_what_was_published_just_before(bus: Bus, other: Bus) -> None:
    got = Collected(100)
    await other.subscribe("a", got)
    await other.flush()
    for number in range(100):
        bus.publish("a", b"%d" % number)
    await bus.close()

    assert len(await got.all()) == 100
    assert bus.closed
    with pytest.raises(BusDisconnected):
        bus.publish("a", b"")
    with pytest.raises(BusDisconnected):
        bus.request("a", b"", 1)


async def test_no_server_at_the_first_connect_is_a_bounded_error() -> None:
    nowhere = BusSettings(url="nats://u:secret@127.0.0.1:1", name="t", connect_timeout_s=0.3)
    with pytest.raises(BusDisconnected, match=r"no NATS server at 127\.0\.0\.1:1") as caught:
        await Bus.connect(nowhere)

    assert "secret" not in str(caught.value)


async def test_any_server_of_a_list_will_do(nats_server: NatsServer) -> None:
    cluster = BusSettings(url=f"nats://127.0.0.1:1, {nats_server.url}", name="t")
    async with await Bus.connect(cluster) as bus:
        await bus.flush()


async def test_refused_credentials_fail_the_first_connect_at_once(tmp_path: Path) -> None:
    extra = "authorization { user: somebody, password: wrong-guess }"
    with NatsServer(tmp_path / "server", extra=extra) as server, pytest.raises(Unauthorized):
        await Bus.connect(BusSettings(url=server.url, name="t", connect_timeout_s=30))


async def test_an_asked_for_encryption_is_never_given_up(nats_server: NatsServer) -> None:
    plain = BusSettings(
        url=nats_server.url.replace("nats://", "tls://"), name="t", connect_timeout_s=0.5
    )
    with pytest.raises(BusDisconnected):
        await Bus.connect(plain)


def test_an_address_that_is_none_is_refused() -> None:
    for url in ("", "http://x", "localhost:4222", "nats://a:1,ws://b:2"):
        with pytest.raises(InvalidInput):
            BusSettings(url=url, name="t")


async def test_jetstream_runs_on_the_same_connection_and_survives_a_restart(
    bus: Bus, nats_server: NatsServer
) -> None:
    js = bus.jetstream()
    bucket = await js.create_key_value(bucket="b")
    revision = await bucket.put("k", b"1")
    watcher: Any = await bucket.watchall()  # nats-py leaves it untyped
    assert [(await watcher.updates(5)).value, await watcher.updates(5)] == [b"1", None]

    await outage(nats_server, bus)
    nats_server.start()
    await bus.flush()
    assert (await bucket.get("k")).revision == revision
    await watcher.stop()


async def test_the_raw_jetstream_api_answers_or_says_what_was_refused(bus: Bus) -> None:
    assert (await bus.jetstream_api("INFO"))["streams"] == 0
    with pytest.raises(JetStreamRefused) as caught:
        await bus.jetstream_api("STREAM.INFO.nothing")
    assert caught.value.err_code == 10059


async def test_a_message_beyond_the_limit_is_refused_before_it_is_sent(bus: Bus) -> None:
    with pytest.raises(PayloadTooLarge):
        bus.publish("a", bytes(bus.max_payload + 1))
    with pytest.raises(PayloadTooLarge):
        bus.request("a", bytes(bus.max_payload + 1), 1)
    await bus.flush()


def test_the_bus_works_the_same_on_uvloop(tmp_path: Path) -> None:
    async def run(url: str, again: Callable[[], NatsServer]) -> bytes:
        async with await Bus.connect(BusSettings(url=url, name="t")) as bus:
            await echo_on(bus, "echo")
            body = bytes(3_000_000)
            assert (await bus.request("echo", body, BOUND_S)).data == body
            lost = asyncio.Event()
            bus.on_disconnect(lost.set)
            again()
            await asyncio.wait_for(lost.wait(), BOUND_S)
            await bus.flush()
            return (await bus.request("echo", b"x", 5)).data

    with NatsServer(tmp_path / "server") as server:
        assert uvloop.run(run(server.url, server.restart)) == b"x"


async def test_reply_tokens_cannot_be_guessed_from_earlier_ones(bus: Bus) -> None:
    """An instance may publish below an ingress' prefix: a counter would let it forge answers."""
    tokens = [int(bus.open_inbox(Collected(1)).subject.rsplit(".", 1)[1]) for _ in range(300)]

    steps = {later - earlier for earlier, later in pairwise(tokens)}
    assert len(set(tokens)) == len(steps) + 1 == 300
    assert max(tokens) > 2**60


def test_the_client_is_imported_without_the_http_library_of_a_transport_we_never_use() -> None:
    """aiohttp is a third of a scorer's start; who needs it elsewhere still finds it."""
    look = (
        "import sys, headrace_bus.client.connection;"
        "assert 'aiohttp' not in sys.modules;"
        "import aiohttp; aiohttp.ClientSession"
    )
    subprocess.run([sys.executable, "-c", look], check=True, timeout=BOUND_S)
