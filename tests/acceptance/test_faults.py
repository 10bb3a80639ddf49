"""What a caller sees while parts of the platform die. Client retries are off."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import psutil
import pytest

from support.deploy import Workbench, patient
from support.load import Load
from support.platform import Platform, until, until_async

AROUND = 500  # requests before a fault, and again after it: 1,000 around it
LEFT = 60  # requests that a slow model has not answered at the kill; half of them are running
pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]


async def ask(
    url: str, key: str, body: Mapping[str, object], bound_s: float = 30.0
) -> tuple[int, str, dict[str, str]]:
    """One request; status, body and headers of its answer."""
    timeout = aiohttp.ClientTimeout(total=bound_s)
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(url, json=body, headers=headers) as response,
    ):
        return response.status, await response.text(), dict(response.headers)


async def test_a_killed_scorer_fails_no_request(platform: Platform, bench: Workbench) -> None:
    bench.endpoint("killed")
    bench.deploy("killed", "blue", "patient", **patient())
    victims = platform.scorers("killed")

    async with Load(platform.url("killed"), platform.key("killed")) as load:
        await load.answered(AROUND)
        victim, pid = next(iter(victims.items()))
        os.kill(pid, signal.SIGKILL)
        await load.answered(AROUND)
        await until_async(lambda: len(platform.scorers("killed")) == 2, "the replacement")

    load.outcome.assert_no_failure(2 * AROUND)
    assert victim not in platform.scorers("killed")


async def test_one_of_two_full_instances_is_killed(platform: Platform, bench: Workbench) -> None:
    """Its requests wait for the other instance; none is lost.

    What may still come at the kill is below the 80 that may be pending, else some are refused.
    """
    bench.endpoint("full")
    bench.deploy("full", "blue", "patient", **patient())
    url, key = platform.url("full"), platform.key("full")

    async with Load(url, key, rate=100, body=_slow, most=AROUND + LEFT) as load:
        await load.answered(AROUND)
        os.kill(next(iter(platform.scorers("full").values())), signal.SIGKILL)
        await load.answered(LEFT // 2)

    load.outcome.assert_no_failure(AROUND + LEFT // 2)
    async with Load(url, key) as after:
        await after.answered(AROUND)
    after.outcome.assert_no_failure(AROUND)


def _slow(nonce: str) -> dict[str, object]:
    return {"nonce": nonce, "sleep_s": 0.3}


async def test_a_rolling_update_fails_no_request(platform: Platform, bench: Workbench) -> None:
    bench.endpoint("rolled")
    bench.deploy("rolled", "blue", "patient", **patient())
    before = set(platform.scorers("rolled"))
    new = bench.deployment_file(
        "rolled", "blue", "patient", **patient(environment_variables={"VERSION": "2"})
    )

    async with Load(platform.url("rolled"), platform.key("rolled")) as load:
        await load.answered(AROUND)
        await asyncio.to_thread(platform.run, "online-deployment", "update", "-f", str(new))
        await load.answered(AROUND)

    load.outcome.assert_no_failure(2 * AROUND)
    assert before.isdisjoint(platform.scorers("rolled"))
    _, text, _ = await ask(platform.url("rolled"), platform.key("rolled"), {"nonce": "x"})
    assert json.loads(text)["version"] == "2"


async def test_scale_in_fails_no_request(platform: Platform, bench: Workbench) -> None:
    bench.endpoint("scaled")
    bench.deploy("scaled", "blue", "patient", **patient(3))
    fewer = bench.deployment_file("scaled", "blue", "patient", **patient(1))

    async with Load(platform.url("scaled"), platform.key("scaled")) as load:
        await load.answered(AROUND)
        await asyncio.to_thread(platform.run, "online-deployment", "update", "-f", str(fewer))
        await load.answered(AROUND)

    load.outcome.assert_no_failure(2 * AROUND)
    await until_async(lambda: len(platform.scorers("scaled")) == 1, "two instances to go")


async def test_scoring_goes_on_without_control_and_instances_are_adopted(
    platform: Platform, bench: Workbench
) -> None:
    bench.endpoint("adopted")
    bench.deploy("adopted", "blue", "patient", **patient())
    scorers = platform.scorers("adopted")
    [control] = platform.pids("run", "control")

    async with Load(platform.url("adopted"), platform.key("adopted")) as load:
        await load.answered(AROUND)
        os.kill(control, signal.SIGKILL)
        await load.answered(AROUND)
        await until_async(lambda: platform.pids("run", "control") not in ([], [control]), "control")
        await load.answered(AROUND)

    load.outcome.assert_no_failure(3 * AROUND)
    await until_async(lambda: platform.status()["state"] == "running", "control to be ready")
    assert platform.json("online-deployment", "show", "-n", "blue", "-e", "adopted")
    assert platform.scorers("adopted") == scorers


async def test_requests_outlive_a_restart_of_nats(platform: Platform, bench: Workbench) -> None:
    bench.endpoint("cut")
    bench.deploy("cut", "blue", "patient", **patient(concurrent=400))  # all wait for NATS
    [server] = platform.pids("nats-server")

    async with Load(platform.url("cut"), platform.key("cut")) as load:
        await load.answered(AROUND)
        os.kill(server, signal.SIGKILL)
        await load.answered(AROUND)
        await until_async(lambda: platform.pids("nats-server") not in ([], [server]), "NATS")

    load.outcome.assert_no_failure(2 * AROUND)


async def test_a_restarted_ingress_loses_its_own_connections_only(
    platform: Platform, bench: Workbench
) -> None:
    bench.endpoint("edge")
    more = patient(concurrent=400)  # all wait until the next ingress knows who serves
    bench.deploy("edge", "blue", "patient", **more)
    [ingress] = platform.pids("run", "ingress")
    url, key = platform.url("edge"), platform.key("edge")

    async with Load(url, key) as load:
        await load.answered(AROUND)
        os.kill(ingress, signal.SIGKILL)
        await until_async(lambda: platform.pids("run", "ingress") not in ([], [ingress]), "ingress")
        await until_async(lambda: platform.status()["state"] == "running", "readiness")
        await load.answered(AROUND)

    others = [f for f in load.outcome.failures if "Client" not in f and "Disconnect" not in f]
    assert others == []
    assert platform.url("edge") == url, "the port is kept"
    async with Load(url, key) as again:
        await again.answered(AROUND)
    again.outcome.assert_no_failure(AROUND)


@pytest.fixture(scope="module")
def faulty(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """URL and key of an endpoint whose model does as it is told."""
    bench = Workbench(platform, tmp_path_factory.mktemp("faulty"))
    bench.endpoint("faulty")
    limits = {"request_timeout_ms": 2000, "max_queue_wait_ms": 20_000}
    variables = {"SCORING_TIMEOUT_MS": "6000"}
    bench.deploy(
        "faulty", "blue", "faulty", request_settings=limits, environment_variables=variables
    )
    return platform.url("faulty"), platform.key("faulty")


async def worker_pid(url: str, key: str) -> int:
    """Pid of the worker that answers; it must answer 200."""
    status, text, _ = await ask(url, key, {"nonce": "pid"})
    assert status == 200, text
    return int(json.loads(text)["pid"])


async def test_a_request_that_kills_its_worker_alone_is_poison(faulty: tuple[str, str]) -> None:
    url, key = faulty
    before = await worker_pid(url, key)

    status, _, headers = await ask(url, key, {"do": "segfault"})

    assert status == 424
    assert "ms-azureml-model-error-reason" in headers
    assert await worker_pid(url, key) != before


async def test_a_request_whose_worker_dies_is_tried_again(
    faulty: tuple[str, str], tmp_path: Path
) -> None:
    asked = {"do": "segfault once", "marker": str(tmp_path / "died")}

    status, text, _ = await ask(*faulty, asked)

    assert (status, json.loads(text)["do"]) == (200, "segfault once")
    assert (tmp_path / "died").exists()


async def test_a_poison_request_takes_no_other_with_it(
    platform: Platform, bench: Workbench
) -> None:
    """Several requests in one worker that dies: all but the poison are answered."""
    bench.endpoint("several")
    more = patient(1, concurrent=400)  # all wait for the only worker
    bench.deploy("several", "blue", "faulty", "async_score.py", **more)
    url, key = platform.url("several"), platform.key("several")

    async with Load(url, key, rate=100) as load:
        await load.answered(AROUND)
        before = await worker_pid(url, key)
        status, _, _ = await ask(url, key, {"do": "segfault", "seconds": 0.02})
        await load.answered(AROUND)

    assert status == 424
    assert await worker_pid(url, key) != before
    load.outcome.assert_no_failure(2 * AROUND)


async def test_run_past_its_timeout_is_408_and_keeps_its_slot(faulty: tuple[str, str]) -> None:
    url, key = faulty
    before = await worker_pid(url, key)

    status, text, _ = await ask(url, key, {"do": "sleep", "seconds": 3})

    assert status == 408, text
    assert await worker_pid(url, key) == before


async def test_run_past_scoring_timeout_frees_the_slot(faulty: tuple[str, str]) -> None:
    url, key = faulty
    status, _, _ = await ask(url, key, {"do": "sleep", "seconds": 3600})
    assert status == 408

    async def answers() -> bool:
        return (await ask(url, key, {"nonce": "after"}))[0] == 200

    for _ in range(10):  # each try waits in the queue for as long as the slot is taken
        if await answers():
            return
    pytest.fail("the slot is still taken")


@pytest.mark.parametrize("what", ["raise", "unserialisable"])
async def test_an_error_of_run_is_424_with_the_models_status(
    faulty: tuple[str, str], what: str
) -> None:
    url, key = faulty
    before = await worker_pid(url, key)

    status, _, headers = await ask(url, key, {"do": what})

    assert status == 424
    assert headers["ms-azureml-model-error-statuscode"] == "500"
    assert await worker_pid(url, key) == before, "an error is no reason to lose the worker"


def test_a_failed_init_shows_the_users_traceback_and_what_still_serves(
    platform: Platform, bench: Workbench
) -> None:
    bench.endpoint("half")
    bench.deploy("half", "green", "patient", **patient(1))
    (bench.folder / "model.pkl").write_text("weights")
    file = bench.deployment_file("half", "blue", "broken", model={"path": "model.pkl"})

    done = platform.run("online-deployment", "create", "-f", str(file), code=5)

    assert "modell.pkl" in done.stderr
    assert "in init" in done.stderr
    assert "green" in done.stderr, "says what still serves"
    platform.run("online-endpoint", "invoke", "-n", "half", "-r", str(bench.write("r.json", {})))
    logs = platform.run("online-deployment", "get-logs", "-n", "blue", "-e", "half").stdout
    assert "FileNotFoundError" in logs


def test_no_process_outlives_a_killed_up_and_a_down(tmp_path: Path) -> None:
    platform = Platform(tmp_path / "home")
    platform.up()
    try:
        bench = Workbench(platform, tmp_path / "work")
        bench.endpoint("orphan")
        bench.deploy("orphan", "blue", "patient", **patient())
        before = platform.scorers()
        supervisor = platform.status()["pid"]
        os.kill(supervisor, signal.SIGKILL)
        until(lambda: not psutil.pid_exists(supervisor), "up to die")

        platform.up()

        assert platform.status()["pid"] != supervisor
        until(lambda: len(platform.scorers()) == 2, "two scorers, adopted or replaced")
        assert platform.scorers() == before, "instances are adopted"
        assert len(platform.pids("run", "control")) == 1
        assert len(platform.pids("nats-server")) == 1
        body = str(bench.write("r.json", {"nonce": "after"}))
        platform.run("online-endpoint", "invoke", "-n", "orphan", "-r", body)
        os.kill(platform.status()["pid"], signal.SIGKILL)
    finally:
        platform.run("down")

    assert [p.cmdline() for p in platform.processes()] == []


async def test_up_killed_twice_in_a_row_fails_no_request(
    platform: Platform, bench: Workbench
) -> None:
    """The second time while it finds again what runs."""
    bench.endpoint("twice")
    bench.deploy("twice", "blue", "patient", **patient())
    services = ("run control", "run ingress", "nats-server")
    before = [platform.scorers("twice"), *map(platform.pids, services)]
    url, key = platform.url("twice"), platform.key("twice")
    first = platform.status()["pid"]

    async with Load(url, key) as load:
        await load.answered(AROUND)
        os.kill(first, signal.SIGKILL)
        again = asyncio.create_task(asyncio.to_thread(platform.run, "up", "--detach", code=None))
        [second] = await until_async(lambda: _other_ups(platform, first), "the second up")
        os.kill(second, signal.SIGKILL)
        await again
        await asyncio.to_thread(platform.run, "up", "--detach")
        await load.answered(AROUND)

    load.outcome.assert_no_failure(2 * AROUND)
    assert platform.status()["state"] == "running"
    assert platform.status()["pid"] not in (first, second)
    assert [platform.scorers("twice"), *map(platform.pids, services)] == before, "all adopted"


def _other_ups(platform: Platform, first: int) -> list[int]:
    """Supervisors but the first; the command that waits for one is none."""
    return [pid for pid in platform.pids(" up --home") if pid != first]
