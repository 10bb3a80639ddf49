"""A channel on a real bus: whose answer an answer is."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from headrace_bus.client.message import Message
from headrace_bus.errors import StreamBroken
from headrace_bus.routing.exchange.call import Call, Incoming
from headrace_bus.routing.exchange.refusals import Refusal
from headrace_bus.routing.exchange.request_id import new_request_id
from headrace_bus.routing.queueing.dispatch import STALE_ANSWER_S
from headrace_bus.wire.batch import couple, uncouple
from headrace_bus.wire.envelope import (
    Answer,
    AnswerKind,
    Request,
    decode_request,
    encode_answer,
)
from headrace_bus.wire.head import request_head
from headrace_bus.wire.heartbeat import BATCHES, InstanceHeartbeat
from headrace_bus.wire.instance_control import Cancel, Want, decode_control
from headrace_bus.wire.subjects import InstanceAddress, instance_control
from headrace_telemetry.clock import monotonic
from routing.edges import BOUND_S, EPOCH, Edge, edge_on, nobody_there
from routing.test_dispatch import beat
from support.nats_server import NatsServer


@pytest.mark.parametrize("kind", [AnswerKind.DONE, AnswerKind.BUSY, AnswerKind.CHUNK])
async def test_an_answer_to_the_request_before_is_dropped_on_the_subject_used_again(
    nats_server: NatsServer, kind: AnswerKind
) -> None:
    """Told apart by the request id; one of an older life of the instance by its epoch."""
    async with edge_on(nats_server) as edge:
        first, reply = await edge.ask(b"first")
        await edge.answer(first, reply, AnswerKind.DONE, EPOCH)
        assert await edge.body() == b"first"

        second, again = await edge.ask(b"second")
        assert again == reply
        await edge.answer(first, reply, kind, EPOCH)
        await edge.answer(second._replace(body=b"forged"), reply, kind, EPOCH - 1)
        assert edge.results.empty()
        assert edge.requests.empty()
        assert edge.channel.dispatch.in_flight == 1

        await edge.answer(second, reply, AnswerKind.DONE, EPOCH)
        assert await edge.body() == b"second"
        assert edge.channel.dispatch.in_flight == 0


async def test_a_request_sent_again_says_so_until_it_is_taken(nats_server: NatsServer) -> None:
    """The instance may be back later than the ingress, and have run it meanwhile."""
    async with edge_on(nats_server) as edge:
        incoming = Incoming(new_request_id(), request_head("POST", "/score", "", ()), b"once")
        call = edge.channel.start(incoming, lambda *_: None)
        assert await edge.resent() is False

        edge.channel.cut_off()
        edge.channel.reconnected(0.5, monotonic())
        assert await edge.resent() is True

        nobody_there(call)
        edge.channel.beat(beat("one", slots=1, epoch=EPOCH), monotonic())
        assert await edge.resent() is True


@pytest.mark.parametrize("refused", [True, False], ids=["busy", "nobody there"])
async def test_what_may_have_begun_waits_for_its_own_instance(
    nats_server: NatsServer, refused: bool
) -> None:
    """BUSY may be the answer to the first sending, and the second be on its way."""
    async with edge_on(nats_server, idempotent=False) as edge:
        channel = edge.channel
        incoming = Incoming(new_request_id(), request_head("POST", "/score", "", ()), b"once")
        call = channel.start(incoming, edge.deliver)
        message = await asyncio.wait_for(edge.requests.get(), BOUND_S)
        channel.beat(beat("two", slots=1), monotonic())
        channel.cut_off()
        channel.reconnected(0.5, monotonic())
        assert await edge.resent() is True

        if refused:
            request = decode_request(message.data)
            await edge.answer(request, message.reply, AnswerKind.BUSY, EPOCH)
        else:
            nobody_there(call)
        assert call.instance is channel.dispatch.instances["one"]
        assert edge.requests.empty()

        channel.beat(beat("one", slots=1, epoch=EPOCH), monotonic())
        assert await edge.resent() is True
        nobody_there(call)
        channel.beat(beat("one", slots=1, epoch=EPOCH + 1), monotonic())
        result = await asyncio.wait_for(edge.results.get(), BOUND_S)
        assert isinstance(result, Refusal)
        assert (result.status, "may have run" in result.message) == (424, True)
        assert channel.dispatch.pending == 0


async def test_what_waits_for_its_own_instance_asks_it_for_a_slot_and_takes_it(
    nats_server: NatsServer,
) -> None:
    """Without a heartbeat in between."""
    async with edge_on(nats_server, idempotent=False) as edge:
        told: asyncio.Queue[Message] = asyncio.Queue()
        address = InstanceAddress("houses", "blue", "one")
        await edge.bus.subscribe(instance_control(address), told.put_nowait)
        await edge.ask(b"once")
        edge.channel.cut_off()
        edge.channel.reconnected(0.5, monotonic())
        message = await asyncio.wait_for(edge.requests.get(), BOUND_S)
        await edge.answer(decode_request(message.data), message.reply, AnswerKind.BUSY, EPOCH)

        want = decode_control((await asyncio.wait_for(told.get(), BOUND_S)).data)
        assert isinstance(want, Want)
        assert want.n == 1
        grant = Answer(AnswerKind.GRANT, "", 0, -1, 1, 0, "", EPOCH, b"", b"")
        edge.bus.publish(want.reply, encode_answer(grant))
        assert await edge.resent() is True


async def test_what_was_abandoned_while_its_instance_was_away_is_not_sent_again(
    nats_server: NatsServer,
) -> None:
    async with edge_on(nats_server, idempotent=False) as edge:
        channel = edge.channel
        incoming = Incoming(new_request_id(), request_head("POST", "/score", "", ()), b"once")
        call = channel.start(incoming, edge.deliver)
        assert await edge.resent() is False
        channel.cut_off()
        channel.reconnected(0.5, monotonic())
        assert await edge.resent() is True
        nobody_there(call)
        channel.cancel(call)
        channel.beat(beat("one", slots=1, epoch=EPOCH), monotonic())
        await edge.bus.flush()

        assert edge.requests.empty()
        assert (channel.dispatch.pending, call.sent_in) == (0, ())


def slots(count: int, *, iid: str = "one", batches: bool = True) -> InstanceHeartbeat:
    features = frozenset({BATCHES} if batches else ())
    return replace(beat(iid, slots=count, epoch=EPOCH), features=features)


async def test_requests_of_one_turn_share_a_message_and_each_gets_its_own_answer(
    nats_server: NatsServer,
) -> None:
    async with edge_on(nats_server) as edge:
        edge.channel.beat(slots(4), monotonic())
        (message,) = await edge.ask_at_once(b"a", b"b", b"c")
        requests = [decode_request(one) for one in uncouple(message.data)]
        assert [one.body for one in requests] == [b"a", b"b", b"c"]

        made = [
            Answer(AnswerKind.DONE, one.request_id, 200, 10, 4, 0, "", EPOCH, b"", one.body)
            for one in requests
        ]
        edge.bus.publish(message.reply, couple([encode_answer(made[at]) for at in (2, 0)]))
        assert [await edge.body(), await edge.body()] == [b"c", b"a"]
        (other,) = await edge.ask_at_once(b"d")
        assert other.reply != message.reply, "one that was sent by it still waits"

        edge.bus.publish(message.reply, encode_answer(made[1]))
        assert await edge.body() == b"b"
        (again,) = await edge.ask_at_once(b"e")
        assert again.reply == message.reply
        assert edge.channel.dispatch.in_flight == 2


@pytest.mark.parametrize("kind", [AnswerKind.BUSY, AnswerKind.DRAINING])
async def test_requests_refused_in_one_message_keep_their_order(
    nats_server: NatsServer, kind: AnswerKind
) -> None:
    async with edge_on(nats_server) as edge:
        edge.channel.beat(slots(3), monotonic())
        (message,) = await edge.ask_at_once(b"a", b"b", b"c")
        requests = [decode_request(one) for one in uncouple(message.data)]
        refused = [
            encode_answer(Answer(kind, one.request_id, 0, -1, 0, 0, "", EPOCH, b"", b""))
            for one in requests
        ]
        edge.bus.publish(message.reply, couple(refused))
        await edge.bus.flush()
        assert edge.requests.empty()

        edge.channel.beat(slots(3), monotonic())
        await edge.bus.flush()
        (again,) = [edge.requests.get_nowait()]
        assert [decode_request(one).body for one in uncouple(again.data)] == [b"a", b"b", b"c"]


async def test_an_instance_of_an_older_version_gets_one_request_a_message(
    nats_server: NatsServer,
) -> None:
    async with edge_on(nats_server) as edge:
        edge.channel.beat(slots(4, batches=False), monotonic())
        messages = await edge.ask_at_once(b"a", b"b")
        assert [decode_request(one.data).body for one in messages] == [b"a", b"b"]


async def test_a_message_holds_only_so_many_bytes(nats_server: NatsServer) -> None:
    async with edge_on(nats_server) as edge:
        edge.channel.beat(slots(9), monotonic())
        bodies = [bytes([at]) * size for at, size in enumerate((9, 40_000, 9, 40_000, 500_000, 9))]
        messages = await edge.ask_at_once(*bodies)
        got = [[decode_request(one).body for one in uncouple(each.data)] for each in messages]
        assert got == [bodies[:3], bodies[3:4], bodies[4:5], bodies[5:]]


async def test_all_requests_of_a_message_nobody_got_go_elsewhere_in_their_order(
    nats_server: NatsServer,
) -> None:
    """The server's word comes once a message; whoever was delivered is not meant by it."""
    async with edge_on(nats_server) as edge:
        assert len(await edge.ask_at_once(b"delivered")) == 1
        edge.channel.beat(slots(3, iid="gone"), monotonic())
        assert await edge.ask_at_once(b"a", b"b", b"c") == []
        await edge.bus.flush()

        instances = edge.channel.dispatch.instances
        assert [len(instances[iid].open) for iid in ("one", "gone")] == [1, 0]
        edge.channel.beat(slots(4), monotonic())
        await edge.bus.flush()
        (message,) = [edge.requests.get_nowait()]
        assert [decode_request(one).body for one in uncouple(message.data)] == [b"a", b"b", b"c"]
        assert edge.channel.dispatch.in_flight == 4


async def test_one_too_large_for_a_message_takes_no_other_with_it(nats_server: NatsServer) -> None:
    """Those before and behind it share a message, and so the subject of their answers."""
    async with edge_on(nats_server) as edge:
        edge.channel.beat(slots(4), monotonic())
        (message,) = await edge.ask_at_once(b"a", bytes(edge.bus.max_payload), b"c")
        refused = edge.results.get_nowait()
        assert isinstance(refused, Refusal)
        assert refused.status == 413

        for one in uncouple(message.data):
            await edge.answer(decode_request(one), message.reply, AnswerKind.DONE, EPOCH)
        assert [await edge.body(), await edge.body()] == [b"a", b"c"]
        assert edge.channel.dispatch.pending == 0


@pytest.mark.parametrize("idle", [True, False], ids=["its answer is lost", "its instance is lost"])
async def test_what_nobody_waits_for_any_more_keeps_no_reply_subject(
    nats_server: NatsServer, idle: bool
) -> None:
    async with edge_on(nats_server) as edge:
        channel = edge.channel
        incoming = Incoming(new_request_id(), request_head("POST", "/score", "", ()), b"once")
        call = channel.start(incoming, edge.deliver)
        channel.cancel(call)
        epoch, later = (EPOCH, STALE_ANSWER_S + 1) if idle else (EPOCH + 1, 0.0)
        channel.beat(beat("one", epoch=epoch), monotonic() + later)

        assert (channel.dispatch.pending, call.sent_in) == (0, ())


async def test_a_deployment_that_went_leaves_no_reply_subject(nats_server: NatsServer) -> None:
    async with edge_on(nats_server) as edge:
        before = len(edge.bus._mux)
        request, reply = await edge.ask(b"first")
        await edge.answer(request, reply, AnswerKind.DONE, EPOCH)
        assert await edge.body() == b"first"
        edge.channel.close()
        assert len(edge.bus._mux) == before


async def test_a_request_sent_again_says_what_is_left_by_then(nats_server: NatsServer) -> None:
    """How long a cut was is no time on the way."""
    async with edge_on(nats_server) as edge:
        incoming = Incoming(new_request_id(), request_head("POST", "/score", "", ()), b"once")
        call = edge.channel.start(incoming, edge.deliver)
        first = decode_request((await asyncio.wait_for(edge.requests.get(), BOUND_S)).data)
        call.sent -= 40.0  # so long ago
        edge.channel.cut_off()
        edge.channel.reconnected(40.0, monotonic())
        again = decode_request((await asyncio.wait_for(edge.requests.get(), BOUND_S)).data)

        assert again.deadline_ms == first.deadline_ms
        assert again.remaining_ms <= first.remaining_ms


@pytest.mark.parametrize("cut", ["instance", "ingress"])
async def test_what_nobody_waits_for_is_cancelled_again_after_a_cut(
    nats_server: NatsServer, cut: str
) -> None:
    """The first word may be lost, and so may the answer that frees the slot here."""
    async with edge_on(nats_server) as edge:
        told = await controls(edge)
        incoming = Incoming(new_request_id(), request_head("POST", "/score", "", ()), b"")
        call = edge.channel.start(incoming, edge.deliver)
        edge.channel.cancel(call)
        if cut == "ingress":
            edge.channel.cut_off()
            edge.channel.reconnected(1.0, monotonic())
        else:
            edge.channel.beat(replace(beat("one", epoch=EPOCH, in_flight=1), links=1), monotonic())
        await edge.bus.flush()

        assert [decode_control(one.data) for one in told] == [
            Cancel(request_id=call.request_id),
            Cancel(request_id=call.request_id),
        ]
        assert edge.channel.dispatch.in_flight == 0


async def test_an_instance_that_was_only_silent_is_told_what_it_may_drop(
    nats_server: NatsServer,
) -> None:
    async with edge_on(nats_server) as edge:
        told = await controls(edge)
        request, _ = await edge.ask(b"first")
        edge.channel.dead("one", "no heartbeat", monotonic())
        await edge.bus.flush()

        assert [decode_control(one.data) for one in told] == [Cancel(request_id=request.request_id)]


async def controls(edge: Edge) -> list[Message]:
    """What the instance is told beside requests, as it comes."""
    told: list[Message] = []
    await edge.bus.subscribe(
        instance_control(InstanceAddress("houses", "blue", "one")), told.append
    )
    return told


def piece(request: Request, number: int, run: int) -> bytes:
    """A chunk as an instance sends it."""
    body = f"{run}.{number} ".encode()
    return encode_answer(
        Answer(AnswerKind.CHUNK, request.request_id, 200, run, 0, number, "", EPOCH, b"", body)
    )


async def test_what_comes_twice_of_one_run_is_read_once(nats_server: NatsServer) -> None:
    """The instance says again what may be lost; another run's pieces are not mixed with it."""
    async with edge_on(nats_server) as edge:
        request, reply = await edge.ask(b"")
        call = next(iter(edge.channel.dispatch.instances["one"].open.values()))
        assert isinstance(call, Call)
        for number in (0, 1, 0, 1, 2):
            edge.bus.publish(reply, piece(request, number, 5))
        edge.bus.publish(reply, piece(request, 3, 6))
        await edge.bus.flush()
        pieces = call.chunks()
        read = [await anext(pieces) for _ in range(3)]

        assert read == [b"5.0 ", b"5.1 ", b"5.2 "]
        with pytest.raises(StreamBroken):
            await anext(pieces)


async def test_a_request_whose_answer_has_begun_is_not_sent_again(nats_server: NatsServer) -> None:
    """It may have ended meanwhile, and would be run anew."""
    async with edge_on(nats_server) as edge:
        request, reply = await edge.ask(b"")
        edge.bus.publish(reply, piece(request, 0, 5))
        await edge.bus.flush()
        edge.channel.beat(replace(beat("one", epoch=EPOCH, in_flight=1), links=1), monotonic())
        await edge.bus.flush()

        assert edge.requests.empty()
        assert edge.channel.dispatch.in_flight == 1


def end(request: Request, count: int, reason: str = "") -> bytes:
    """The end of a stream of so many pieces."""
    return encode_answer(
        Answer(AnswerKind.END, request.request_id, 0, -1, 1, count, reason, EPOCH, b"", b"")
    )


async def test_an_end_of_which_nothing_came_before_waits_for_the_rest(
    nats_server: NatsServer,
) -> None:
    """A cut took the pieces; after it the instance says all of them again."""
    async with edge_on(nats_server) as edge:
        request, reply = await edge.ask(b"")
        call = next(iter(edge.channel.dispatch.instances["one"].open.values()))
        assert isinstance(call, Call)
        edge.bus.publish(reply, end(request, 1))
        await edge.bus.flush()
        assert edge.results.empty()
        edge.bus.publish(reply, couple([piece(request, 0, 5), end(request, 1)]))
        await edge.bus.flush()

        assert [part async for part in call.chunks()] == [b"5.0 "]
        assert edge.channel.dispatch.in_flight == 0


async def test_a_stream_given_up_before_anything_came_is_refused_in_words(
    nats_server: NatsServer,
) -> None:
    async with edge_on(nats_server) as edge:
        request, reply = await edge.ask(b"")
        edge.bus.publish(reply, end(request, 8, "cancelled"))
        refusal = await asyncio.wait_for(edge.results.get(), BOUND_S)

        assert isinstance(refusal, Refusal)
        assert (refusal.status, bool(refusal.message)) == (424, True)
        assert edge.channel.dispatch.in_flight == 0
