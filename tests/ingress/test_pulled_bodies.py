"""Large bodies and answers in pieces, at the ingress: whatever ends in the middle, one result."""

from __future__ import annotations

import asyncio
import io
import json
import os
from pathlib import Path

import aiohttp
import pytest

from headrace_bus.routing.bodies.shared_file import MESSAGE_BYTES
from headrace_bus.wire.envelope import PIECE_BYTES
from support.bodies import held, none_held
from support.ingress_world import AUTH, BOUND_S, World, make_route, url
from support.pulling_instance import PullingInstance, retried

SIZE = MESSAGE_BYTES + 3 * PIECE_BYTES + 5
PIECES = -(-SIZE // PIECE_BYTES)


async def post(world: World, address: str, body: bytes) -> tuple[int, bytes]:
    async with world.http.post(address, data=io.BytesIO(body), headers=AUTH) as got:
        return got.status, await got.read()


async def nothing_left(world: World) -> None:
    await none_held(os.getpid())
    assert not list(Path(world.home.run / "bodies").iterdir())


async def told_to_stop(one: PullingInstance, times: int) -> None:
    async with asyncio.timeout(BOUND_S):
        while len(one.cancelled) < times:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_body_and_its_answer_come_whole(world: World) -> None:
    listening = await world.ingress()
    await world.route(make_route())
    one = await world.pulling()
    body = os.urandom(SIZE)

    for _ in range(2):
        assert await post(world, url(listening), body) == (200, body)
    assert one.admission.in_flight == 0
    await nothing_left(world)


@pytest.mark.parametrize("at", [1, 5, PIECES, PIECES + 1, PIECES + 9, 2 * PIECES])
async def test_an_instance_that_dies_at_any_piece_costs_no_answer(world: World, at: int) -> None:
    listening = await world.ingress()
    await world.route(make_route(request_timeout_ms=20_000))
    doomed = await world.pulling()
    doomed.pieces_until_death = at
    body = os.urandom(SIZE)
    call = asyncio.create_task(post(world, url(listening), body))
    await doomed.reached.wait()
    spare = PullingInstance(world.server.url, doomed.address._replace(iid="spare"), 4)
    await spare.start()
    world.instances.append(spare)

    assert await call == (200, body)
    assert [retried(one) for one in spare.seen] == [True]
    await nothing_left(world)


@pytest.mark.parametrize("at", [1, PIECES // 2, PIECES + 3])
async def test_a_restart_of_nats_in_the_middle_goes_on_where_it_was(world: World, at: int) -> None:
    listening = await world.ingress()
    await world.route(make_route(request_timeout_ms=20_000))
    one = await world.pulling()
    body = os.urandom(SIZE)
    pieces = 0
    lives = one._lives

    def cut() -> bool:
        nonlocal pieces
        pieces += 1
        if pieces == at:
            world.server.kill()
        return lives()

    one._lives = cut  # type: ignore[method-assign]  # the moment of the cut
    call = asyncio.create_task(post(world, url(listening), body))
    await one.reached.wait()
    async with asyncio.timeout(BOUND_S):
        while one.bus.connected:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await asyncio.to_thread(world.server.start)

    assert await call == (200, body)
    assert len(one.seen) == 1  # not run again
    await nothing_left(world)


async def test_a_client_that_hangs_up_in_the_middle_frees_all(world: World) -> None:
    listening = await world.ingress()
    await world.route(make_route(request_timeout_ms=20_000))
    one = await world.pulling()
    one.silent = True
    call = asyncio.create_task(post(world, url(listening), b"large=%d" % SIZE))
    await one.reached.wait()  # the answer is asked for
    assert held(os.getpid())
    call.cancel()

    await nothing_left(world)
    await told_to_stop(one, 1)


async def test_a_deadline_in_the_middle_is_a_408(world: World) -> None:
    listening = await world.ingress()
    await world.route(make_route(request_timeout_ms=700))
    one = await world.pulling()
    one.silent = True

    for body in (b"large=%d" % SIZE, bytes(SIZE)):
        status, _ = await post(world, url(listening), body)
        assert status == 408
    await told_to_stop(one, 2)
    await nothing_left(world)


async def test_an_answer_past_the_limit_is_named_with_both_numbers(world: World) -> None:
    listening = await world.ingress()
    limit = MESSAGE_BYTES + PIECE_BYTES
    await world.route(make_route(max_body_bytes=limit))
    one = await world.pulling()
    status, answer = await post(world, url(listening), b"large=%d" % (limit + 1))

    message = json.loads(answer)["error"]["message"]
    assert status == 424
    assert str(limit) in message
    assert str(limit + 1) in message
    assert "maxBodyBytes" in message
    assert await post(world, url(listening), b"large=%d" % limit) == (200, b"x" * limit)
    await told_to_stop(one, 1)
    await nothing_left(world)


async def test_a_body_past_the_limit_is_refused_by_its_head_alone(world: World) -> None:
    listening = await world.ingress()
    await world.route(make_route(max_body_bytes=SIZE))
    await world.pulling()
    reader, writer = await asyncio.open_connection("127.0.0.1", listening.http_port)
    head = f"host: x\r\ncontent-length: {SIZE + 1}\r\nauthorization: {AUTH['authorization']}\r\n"
    writer.write(f"POST /endpoints/houses/score HTTP/1.1\r\n{head}\r\n".encode())
    answer = (await reader.read(4096)).decode()
    writer.close()

    assert answer.startswith("HTTP/1.1 413 ")
    for word in (str(SIZE), str(SIZE + 1), "maxBodyBytes", "HEADRACE_MAX_BODY_BYTES"):
        assert word in answer


async def test_all_files_together_are_bounded(world: World) -> None:
    listening = await world.ingress(max_spool_bytes=2 * SIZE)
    await world.route(make_route(request_timeout_ms=20_000))
    one = await world.pulling()
    one.silent = True
    calls = [asyncio.create_task(post(world, url(listening), bytes(SIZE))) for _ in range(2)]
    async with asyncio.timeout(BOUND_S):
        while len(one.seen) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    try:
        status, answer = await post(world, url(listening), bytes(SIZE))
        assert (status, json.loads(answer)["error"]["code"]) == (507, "InsufficientStorage")
    except aiohttp.ClientOSError:
        pass  # refused while it still sent
    for call in calls:
        call.cancel()
    await nothing_left(world)
    one.silent = False
    body = os.urandom(SIZE - 100)

    assert await post(world, url(listening), body) == (200, body)
