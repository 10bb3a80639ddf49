"""Large bodies in pieces, at a real scorer: whatever is lost or ends in the middle, one answer."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
from pathlib import Path

import pytest

from headrace_api.home import Home
from headrace_bus.client.connection import Bus
from headrace_bus.routing.bodies.pulls import WINDOW
from headrace_bus.routing.bodies.shared_file import MESSAGE_BYTES
from headrace_bus.wire.envelope import PIECE_BYTES, Answer, AnswerKind, Request, RequestFlag
from headrace_bus.wire.head import request_head
from headrace_bus.wire.instance_control import Cancel, Piece, Pull
from headrace_scorer.worker import frames
from headrace_telemetry.clock import unix_ms
from scorer.caller import BOUND_S, Caller, Instance, launch_of
from scorer.conftest import Serve
from support.bodies import held, none_held
from support.nats_server import NatsServer

SIZE = MESSAGE_BYTES + 5 * PIECE_BYTES + 7
PIECES = -(-SIZE // PIECE_BYTES)
SOON_MS = 3_000

RAW = """
import hashlib, os
from azureml_inference_server_http.api.aml_request import rawhttp
from azureml_inference_server_http.api.aml_response import AMLResponse
def init():
    pass
@rawhttp
%sdef run(request):
    marker = request.args.get("die_once")
    if marker and not os.path.exists(marker):
        open(marker, "w").close()
        os.kill(os.getpid(), 9)
    data = request.get_data()
    if request.args.get("large"):
        return AMLResponse(b"x" * int(request.args["large"]), 201)
    if request.args.get("digest"):
        return AMLResponse(hashlib.sha256(data).hexdigest(), 200)
    return AMLResponse(data, 200)
"""
SYNC, ASYNC = RAW % "", RAW % "async "


def test_both_sides_of_a_worker_agree_on_what_is_large() -> None:
    assert frames.WHOLE_BYTES == MESSAGE_BYTES


class Edge:
    """The ingress' part, by hand."""

    def __init__(self, caller: Caller, body: bytes) -> None:
        self.caller = caller
        self.body = body
        self.answer = bytearray()
        self.asked = 0
        """The most pieces it was asked for at once."""

    def request(self, query: str = "", **fields: object) -> Request:
        headers = [("hr-pull", str(len(self.body)))] if self.body else []
        head = request_head("POST", "/score", query, headers)
        return self.caller.request(b"", head=head, **fields)

    def give(self, asked: Answer) -> None:
        self.asked = max(self.asked, asked.status)
        for number in range(asked.seq, asked.seq + asked.status):
            data = self.body[number * PIECE_BYTES : (number + 1) * PIECE_BYTES]
            self.caller.control(Piece(request_id=asked.request_id, number=number, data=data))

    def pull(self, request_id: str) -> None:
        first = -(-len(self.answer) // PIECE_BYTES)
        self.caller.control(Pull(request_id=request_id, first=first, n=2))

    async def until_done(self, queue: asyncio.Queue[Answer]) -> Answer:
        async with asyncio.timeout(BOUND_S):
            while True:
                answer = await queue.get()
                if answer.kind == AnswerKind.PULL:
                    self.give(answer)
                elif answer.kind == AnswerKind.LEFT:
                    self.answer.clear()
                    self.pull(answer.request_id)
                elif answer.kind == AnswerKind.PIECE:
                    self.answer += answer.body
                    if answer.seq % 2 or len(answer.body) < PIECE_BYTES:
                        self.pull(answer.request_id)
                else:
                    return answer


async def kind(queue: asyncio.Queue[Answer], wanted: AnswerKind) -> Answer:
    async with asyncio.timeout(BOUND_S):
        while True:
            answer = await queue.get()
            if answer.kind == wanted:
                return answer


async def nothing_left(instance: Instance) -> None:
    await instance.when(lambda beat: beat.in_flight == 0)
    await none_held(instance.pid)
    assert not list((instance.home.run / "bodies").iterdir())


@pytest.mark.parametrize("script", [SYNC, ASYNC], ids=["sync", "async"])
async def test_a_body_is_pulled_and_a_large_answer_waits(serve: Serve, script: str) -> None:
    instance, caller = await serve(script)
    edge = Edge(caller, os.urandom(SIZE))

    done = await edge.until_done(caller.send(edge.request()))

    assert (done.kind, done.status) == (AnswerKind.DONE, 200)
    assert edge.answer == edge.body
    assert done.headers[-1] == ("hr-size", str(SIZE))
    assert done.free >= 1
    assert 0 < edge.asked <= WINDOW
    await nothing_left(instance)


@pytest.mark.parametrize("script", [SYNC, ASYNC], ids=["sync", "async"])
async def test_a_small_request_may_have_a_large_answer(serve: Serve, script: str) -> None:
    instance, caller = await serve(script)
    for size in (MESSAGE_BYTES, MESSAGE_BYTES + 1, SIZE):
        edge = Edge(caller, b"")
        done = await edge.until_done(caller.send(edge.request(f"large={size}")))

        assert (done.kind, done.status) == (AnswerKind.DONE, 201)
        assert len(edge.answer) + len(done.body) == size
    await nothing_left(instance)


async def test_what_was_lost_is_asked_for_again(serve: Serve) -> None:
    instance, caller = await serve(SYNC)
    edge = Edge(caller, os.urandom(SIZE))
    queue = caller.send(edge.request("digest=1"))
    await kind(queue, AnswerKind.PULL)  # and nothing is given

    done = await edge.until_done(queue)

    assert done.body.decode() == hashlib.sha256(edge.body).hexdigest()
    await nothing_left(instance)


async def test_a_request_sent_again_in_the_middle_goes_on(serve: Serve) -> None:
    instance, caller = await serve(SYNC)
    edge = Edge(caller, os.urandom(SIZE))
    request = edge.request("digest=1")
    queue = caller.send(request)
    edge.give(await kind(queue, AnswerKind.PULL))
    caller.send(request._replace(flags=int(RequestFlag.RESENT)))

    done = await edge.until_done(queue)

    assert done.body.decode() == hashlib.sha256(edge.body).hexdigest()
    await instance.when(lambda beat: beat.served == 1)  # not run again
    await nothing_left(instance)


@pytest.mark.parametrize("body", [SIZE, 0], ids=["body", "answer"])
async def test_a_cancel_in_the_middle_frees_slot_and_file(serve: Serve, body: int) -> None:
    instance, caller = await serve(SYNC)
    edge = Edge(caller, bytes(body))
    request = edge.request("" if body else f"large={SIZE}")
    queue = caller.send(request)
    await kind(queue, AnswerKind.PULL if body else AnswerKind.LEFT)
    assert held(instance.pid)
    caller.control(Cancel(request_id=request.request_id))

    assert (await kind(queue, AnswerKind.FAILED)).reason == "cancelled"
    await nothing_left(instance)


@pytest.mark.parametrize("body", [SIZE, 0], ids=["body", "answer"])
async def test_a_deadline_in_the_middle_frees_slot_and_file(serve: Serve, body: int) -> None:
    instance, caller = await serve(SYNC)
    edge = Edge(caller, bytes(body))
    # Long enough to get to the middle of it on a slow machine.
    soon = {"deadline_ms": unix_ms() + SOON_MS, "remaining_ms": SOON_MS}
    request = edge.request("" if body else f"large={SIZE}", **soon)
    queue = caller.send(request)
    await kind(queue, AnswerKind.PULL if body else AnswerKind.LEFT)

    await kind(queue, AnswerKind.EXPIRED if body else AnswerKind.FAILED)
    await nothing_left(instance)


@pytest.mark.parametrize("body", [SIZE, 0], ids=["body", "answer"])
async def test_an_ingress_that_is_gone_holds_no_slot(serve: Serve, body: int) -> None:
    instance, caller = await serve(SYNC)
    edge = Edge(caller, bytes(body))
    caller.reply = f"_INBOX.gone.{caller.id}"  # nobody listens there
    caller.send(edge.request("" if body else f"large={SIZE}"))
    await instance.when(lambda beat: beat.in_flight == 1)

    await nothing_left(instance)  # long before the deadline of a minute


async def test_a_worker_that_dies_with_a_pulled_body_costs_no_answer(
    serve: Serve, scratch: Path
) -> None:
    instance, caller = await serve(SYNC)
    edge = Edge(caller, os.urandom(SIZE))

    done = await edge.until_done(caller.send(edge.request(f"die_once={scratch / 'died'}")))

    assert done.kind == AnswerKind.DONE
    assert edge.answer == edge.body
    await nothing_left(instance)


async def test_a_worker_killed_while_it_sends_a_large_answer_costs_none(serve: Serve) -> None:
    instance, caller = await serve(SYNC)
    size = 8 * SIZE
    for _ in range(20):  # an answer may be whole before its middle is seen
        edge = Edge(caller, b"")
        queue = caller.send(edge.request(f"large={size}"))
        killed = False
        while queue.empty() and not killed:
            if any(PIECE_BYTES < found < size for found in held(instance.pid)):
                assert instance.last is not None
                os.kill(instance.last.workers[0], signal.SIGKILL)
                killed = True
            await asyncio.sleep(0)
        done = await edge.until_done(queue)
        assert done.kind == AnswerKind.DONE
        assert len(edge.answer) == size
        await nothing_left(instance)
        if killed:
            return
        await instance.ready()
    raise AssertionError("no answer was ever seen in its middle")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
async def test_a_full_disk_is_said_and_passes(nats: NatsServer, tmp_path: Path, bus: Bus) -> None:
    home = Home(tmp_path / "home")
    small = home.run / "bodies"
    small.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(small)]
    subprocess.run(mount, check=True)  # noqa: ASYNC221  (a few milliseconds, in a test)
    instance = Instance(home, launch_of(home, nats.url, SYNC), bus)
    try:
        await (await instance.start()).ready()
        caller = await Caller(bus, instance.address).open()
        large = 30 * 1024 * 1024
        for query, size in (("", large), (f"large={large}", 0), ("", large // 2)):
            edge = Edge(caller, bytes(size))
            failed = await edge.until_done(caller.send(edge.request(query)))
            assert (failed.kind, failed.reason) == (AnswerKind.FAILED, "no_room")
            await nothing_left(instance)
        edge = Edge(caller, os.urandom(SIZE))
        done = await edge.until_done(caller.send(edge.request()))
        assert done.kind == AnswerKind.DONE
        assert edge.answer == edge.body
        await nothing_left(instance)
    finally:
        await instance.close()
        subprocess.run(["umount", str(small)], check=True)  # noqa: ASYNC221
