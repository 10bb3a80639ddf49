"""What a caller of a scoring endpoint sees (azure_behaviour.md 2 and 3)."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace

import aiohttp
import pytest

from headrace_bus.wire.envelope import RequestFlag
from headrace_bus.wire.head import split_request
from headrace_bus.wire.heartbeat import InstanceHeartbeat, InstanceState
from headrace_bus.wire.subjects import InstanceAddress, heartbeat
from support.ingress_world import AUTH, BOUND_S, World, make_route, url

GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


async def error_of(response: aiohttp.ClientResponse) -> dict[str, str]:
    error: dict[str, str] = (await response.json())["error"]
    return error


async def test_the_body_is_scored_and_comes_back_with_our_request_id(world: World) -> None:
    listening = await world.ingress()
    await world.route(make_route())
    one = await world.instance()
    headers = AUTH | {
        "x-ms-client-request-id": "my id!" + "x" * 60,
        "Nats-Rollup": "all",
        "X-A": "b",
    }

    async with world.http.post(url(listening), data=b'[1, "\xc3\xa9"]', headers=headers) as got:
        assert (got.status, await got.read()) == (200, b'[1, "\xc3\xa9"]')
        assert GUID.fullmatch(got.headers["x-request-id"])
        assert got.headers["x-ms-client-request-id"] == "myid" + "x" * 36
        assert got.headers["x-ms-run-function-failed"] == "False"

    (request,) = one.seen
    sent = dict(request.headers)
    assert (*split_request(request.head)[:2], sent["x-a"]) == ("POST", "/score", "b")
    assert sent["x-request-id"] == got.headers["x-request-id"]
    assert not {"authorization", "nats-rollup", "connection"} & set(sent)


async def test_wrong_credentials_names_and_paths_have_codes(world: World) -> None:
    listening = await world.ingress()
    await world.route(make_route())
    await world.instance()
    bad = {"authorization": "Bearer nonsense"}
    cases = [
        (url(listening), {}, 401, "Unauthorized"),
        (url(listening), bad, 401, "Unauthorized"),
        (url(listening, "/endpoints/none/score"), AUTH, 404, "EndpointNotFound"),
        (url(listening, "/endpoints/houses/other"), AUTH, 404, "NotFound"),
        (url(listening), AUTH | {"azureml-model-deployment": "red"}, 404, "DeploymentNotFound"),
    ]
    for address, headers, status, code in cases:
        async with world.http.post(address, data=b"1", headers=headers) as got:
            assert (got.status, (await error_of(got))["code"]) == (status, code)


async def test_no_weight_is_404_with_the_known_words_and_the_header_still_routes(
    world: World,
) -> None:
    listening = await world.ingress()
    await world.route(make_route({}))
    await world.instance()

    async with world.http.post(url(listening), data=b"1", headers=AUTH) as got:
        assert got.status == 404
        assert (await error_of(got))["message"].startswith("No valid deployments to route to.")
    chosen = AUTH | {"azureml-model-deployment": "BLUE"}
    async with world.http.post(url(listening), data=b"1", headers=chosen) as got:
        assert got.status == 200


async def test_a_split_is_exact_and_the_mirror_gets_its_share_unseen(world: World) -> None:
    listening = await world.ingress()
    await world.route(make_route({"blue": 100}, mirror={"green": 20}))
    blue, green = await world.instance(), await world.instance("green", "two")

    for _ in range(50):
        async with world.http.post(url(listening), data=b"1", headers=AUTH) as got:
            assert got.status == 200
    await world.route(make_route({"blue": 90, "green": 10}))
    before = len(green.seen)
    for _ in range(50):
        async with world.http.post(url(listening), data=b"1", headers=AUTH) as got:
            assert got.status == 200

    assert before == 10
    assert all(request.flags & RequestFlag.MIRROR for request in green.seen[:before])
    assert (len(blue.seen), len(green.seen) - before) == (50 + 45, 5)


async def test_another_code_of_the_model_is_424_with_its_body(world: World) -> None:
    listening = await world.ingress()
    await world.route(make_route())
    await world.instance()

    async with world.http.post(url(listening), json={"status": 500}, headers=AUTH) as got:
        assert (got.status, await got.json()) == (424, {"status": 500})
        assert got.headers["ms-azureml-model-error-statuscode"] == "500"
        assert got.headers["ms-azureml-model-error-reason"] == "model_error"


async def test_nobody_ready_is_424_and_a_slow_run_is_408_that_keeps_its_slot(world: World) -> None:
    listening = await world.ingress()
    await world.route(make_route(request_timeout_ms=200, max_queue_wait_ms=100, max_concurrent=1))

    async with world.http.post(url(listening), data=b"1", headers=AUTH) as got:
        assert got.status == 424
        assert got.headers["ms-azureml-model-error-reason"] == "model_not_ready"

    one = await world.instance(slots=1)
    async with world.http.post(url(listening), json={"sleep_s": 3}, headers=AUTH) as got:
        assert (got.status, (await error_of(got))["code"]) == (408, "RequestTimeout")
    assert one.admission.in_flight == 1
    async with world.http.post(url(listening), data=b"1", headers=AUTH) as got:
        assert (got.status, got.headers["retry-after"]) == (429, "1")
    await world.until(lambda: bool(one.cancelled))
    assert one.cancelled == [one.seen[0].request_id]
    assert one.refused == 0


async def test_a_request_waits_for_an_instance_that_is_starting(world: World) -> None:
    listening = await world.ingress()
    await world.route(make_route(max_queue_wait_ms=20, request_timeout_ms=20_000))
    one = await world.spare("houses", "blue", "one")
    one.state = InstanceState.LOADING
    one.say()

    async def post() -> int:
        async with world.http.post(url(listening), data=b"1", headers=AUTH) as got:
            return got.status

    waiting = [asyncio.create_task(post()) for _ in range(3)]
    await world.until(lambda: world.waiting["in-one"].get("houses.blue") == 3)
    heard = world.beats["in-one"]
    await world.until(lambda: world.beats["in-one"] > heard + 1)  # past the queue wait by far
    one.state = InstanceState.READY
    one.say()

    assert await asyncio.gather(*waiting) == [200] * 3


async def test_a_deployment_that_failed_is_424_however_long_requests_may_wait(
    world: World,
) -> None:
    listening = await world.ingress()
    forever_ms = int(10_000 * BOUND_S)
    await world.route(make_route(max_queue_wait_ms=forever_ms, failed=True))
    async with world.http.post(url(listening), data=b"1", headers=AUTH) as got:
        assert got.status == 424
        assert got.headers["ms-azureml-model-error-reason"] == "model_not_ready"


async def test_who_waits_for_an_instance_that_is_starting_is_told_when_it_dies_again_and_again(
    world: World,
) -> None:
    listening = await world.ingress()
    forever_ms = int(10_000 * BOUND_S)
    await world.route(make_route(max_queue_wait_ms=20, request_timeout_ms=forever_ms))
    one = await world.spare("houses", "blue", "one")
    one.state = InstanceState.LOADING
    one.say()

    async def post() -> tuple[int, str]:
        async with world.http.post(url(listening), data=b"1", headers=AUTH) as got:
            return got.status, (await error_of(got))["message"]

    waiting = asyncio.create_task(post())
    await world.until(lambda: world.waiting["in-one"].get("houses.blue") == 1)
    heard = world.beats["in-one"]
    await world.until(lambda: world.beats["in-one"] > heard + 1)  # past the queue wait by far
    await world.route(make_route(max_queue_wait_ms=20, request_timeout_ms=forever_ms, failed=True))

    for status, message in (await waiting, await post()):
        assert status == 424
        assert "every start attempt failed" in message
    one.state = InstanceState.READY
    one.say()
    await world.until(lambda: world.live["in-one"].get("houses.blue") == 1)
    async with world.http.post(url(listening), data=b"1", headers=AUTH) as got:
        assert got.status == 200, "one that is ready serves, whatever the route still says"


async def test_more_than_twice_the_concurrency_is_429_at_once(world: World) -> None:
    listening = await world.ingress()
    await world.route(make_route(max_concurrent=2, max_queue_wait_ms=20_000))
    await world.instance(slots=2)

    async def call() -> int:
        async with world.http.post(url(listening), json={"sleep_s": 1.5}, headers=AUTH) as got:
            await got.read()
            return got.status

    codes = await asyncio.gather(*(call() for _ in range(10)))

    assert sorted(codes) == [200] * 4 + [429] * 6


async def test_the_callers_own_deadline_shortens_ours(world: World) -> None:
    listening = await world.ingress()
    await world.route(make_route())
    await world.instance()
    headers = AUTH | {"x-request-timeout-ms": "100"}

    async with world.http.post(url(listening), json={"sleep_s": 2}, headers=headers) as got:
        assert got.status == 408


async def test_a_streamed_answer_arrives_piece_by_piece_beyond_its_window(world: World) -> None:
    listening = await world.ingress()
    await world.route(make_route())
    await world.instance()

    async with world.http.post(url(listening), json={"chunks": 50}, headers=AUTH) as got:
        body = await got.read()
    assert body == b"".join(f"piece {number}\n".encode() for number in range(50))
    assert got.headers["transfer-encoding"] == "chunked"


async def test_a_client_that_hangs_up_cancels_its_request(world: World) -> None:
    listening = await world.ingress()
    await world.route(make_route())
    one = await world.instance()

    call = asyncio.create_task(_post(world, url(listening), {"sleep_s": 5}))
    await world.until(lambda: bool(one.seen))
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await world.until(lambda: bool(one.cancelled))

    assert one.cancelled == [one.seen[0].request_id]


async def test_two_ingresses_share_one_slot_without_starving(world: World) -> None:
    """Each request of the other ingress is bounced once at most, then granted in its turn."""
    first, second = await world.ingress("in-one"), await world.ingress("in-two")
    await world.route(make_route(max_concurrent=20, max_queue_wait_ms=10_000))
    await world.instance(slots=1)

    async def call(address: str) -> int:
        async with world.http.post(address, json={"sleep_s": 0.01}, headers=AUTH) as got:
            await got.read()
            return got.status

    addresses = [url(first), url(second)] * 15
    codes = await asyncio.gather(*(call(address) for address in addresses))

    assert codes == [200] * 30


async def test_metrics_count_what_callers_saw(world: World) -> None:
    listening = await world.ingress()
    await world.route(make_route())
    await world.instance()
    for _ in range(3):
        async with world.http.post(url(listening), data=b"1", headers=AUTH) as got:
            assert got.status == 200

    async with world.http.get(url(listening, "/metrics")) as got:
        text = await got.text()
    labels = 'endpoint="houses",deployment="blue",lane="online"'
    assert f'headrace_requests_total{{{labels},code="200"}} 3' in text
    assert f"headrace_request_duration_seconds_count{{{labels}}} 3" in text
    async with world.http.get(url(listening, "/readyz")) as got:
        assert await got.json() == {"ready": True}


async def _post(world: World, address: str, body: object) -> bytes:
    async with world.http.post(address, data=json.dumps(body), headers=AUTH) as got:
        return await got.read()


@pytest.mark.parametrize("name", ["ingress", "router", "control", "heartbeat", "score", "inst"])
async def test_an_endpoint_may_have_the_name_of_a_part_of_the_bus(world: World, name: str) -> None:
    listening = await world.ingress()
    await world.route(replace(make_route(), endpoint=name))
    await world.spare(name, "blue", "one")
    seen = f"{name}.blue"
    await world.until(lambda: all(each.get(seen) == 1 for each in world.live.values()))

    address = url(listening, f"/endpoints/{name}/score")
    async with world.http.post(address, data=b"1", headers=AUTH) as got:
        assert (got.status, await got.read()) == (200, b"1")


async def test_an_instance_of_a_job_gets_no_request_of_an_edge(world: World) -> None:
    listening = await world.ingress()
    await world.route(make_route())
    one = await world.instance()
    beat = InstanceHeartbeat(
        iid="step",
        epoch=1,
        client="c",
        state=InstanceState.READY,
        slots=9,
        in_flight=0,
        owner="job",
    )
    world.bus.publish(heartbeat(InstanceAddress("houses", "blue", "step")), beat.encode())
    await world.bus.flush()
    for _ in range(5):
        async with world.http.post(url(listening), data=b"1", headers=AUTH) as got:
            assert got.status == 200
    assert len(one.seen) == 5
    assert all(each["houses.blue"] == 1 for each in world.live.values())
