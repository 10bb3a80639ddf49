"""Instances as processes: started once, found again, told apart from strangers, ended whole."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from headrace_api.home import Home
from headrace_api.machine import WORKER_VARIABLE
from headrace_bus.wire.launch import Launch
from headrace_scaler.compute import processes
from headrace_scaler.compute.folder import InstanceFolder
from headrace_scaler.compute.port import Container, Running
from headrace_scaler.compute.process import KEPT_ENDED, ProcessCompute
from headrace_scaler.errors import InstanceExists, InstanceUnknown, LaunchFailed

# A process with a child in its session, as a scorer has workers. It says so in a log, ends on
# SIGTERM, and leaves the child, which ignores SIGTERM, behind.
SCORER = """
import signal, subprocess, sys, time
stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
worker = subprocess.Popen([sys.executable, "-c", stubborn])
signal.signal(signal.SIGTERM, lambda *_: {on_term})
with open("inference-server.log", "a") as log:
    log.write(f"worker {{worker.pid}}\\n")
while True:
    time.sleep(1)
"""
BOUND_S = 30.0


def launch(iid: str, deployment: str = "blue") -> Launch:
    return Launch(iid=iid, endpoint="iris", deployment=deployment, revision=3)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(BOUND_S):
        while not condition():  # noqa: ASYNC110  # other processes raise no event here
            await asyncio.sleep(0.02)


class Bench:
    """One home and the computes that were opened on it, one after the other."""

    def __init__(self, home: Home, script: Path) -> None:
        self.home = home
        self.script = script
        self.ended: list[str] = []
        self.opened: list[ProcessCompute] = []

    def open(self, *, on_term: str = "sys.exit(0)", stop_bound_s: float = 30.0) -> ProcessCompute:
        self.script.write_text(SCORER.format(on_term=on_term))
        compute = ProcessCompute(
            self.home,
            on_exit=self.ended.append,
            command=(sys.executable, str(self.script)),
            stop_bound_s=stop_bound_s,
        )
        self.opened.append(compute)
        return compute

    async def started(self, compute: ProcessCompute, iid: str) -> Running:
        """Start one and wait until it has its worker."""
        await compute.start(launch(iid), "secret")
        await until(lambda: self.worker(iid))
        return await self.find(compute, iid)

    async def find(self, compute: ProcessCompute, iid: str) -> Running:
        return next(one for one in await compute.list() if one.iid == iid)

    def worker(self, iid: str) -> int:
        log = self.home.instances / iid / "inference-server.log"
        return int(log.read_text().split()[1]) if log.exists() and log.read_text() else 0


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(Home(tmp_path / "home"), tmp_path / "scorer.py")
    yield made
    for compute in made.opened:
        for one in await compute.list():
            await compute.kill(one.iid)
        await until(lambda: all(not processes.identify(pid) for pid in _pids(made)))
        await compute.list()
        await compute.close()


def _pids(bench: Bench) -> list[int]:
    records = bench.home.instances.glob("*/record.json")
    return [json.loads(path.read_text())["pid"] for path in records]


async def test_a_started_instance_is_listed_with_who_it_is(bench: Bench) -> None:
    found = await bench.started(bench.open(), "a1")

    assert found.alive
    assert (found.endpoint, found.deployment, found.revision) == ("iris", "blue", 3)
    assert os.getsid(found.pid) == found.pid


async def test_an_id_is_started_once_only(bench: Bench) -> None:
    compute = bench.open()
    await bench.started(compute, "a1")

    with pytest.raises(InstanceExists):
        await compute.start(launch("a1"), "secret")


async def test_files_with_secrets_are_private(bench: Bench) -> None:
    await bench.started(bench.open(), "a1")

    folder = bench.home.instances / "a1"
    assert {name.stat().st_mode & 0o077 for name in (folder, *folder.glob("*.json"))} == {0}
    assert (folder / "nats.creds").stat().st_mode & 0o077 == 0


async def test_nothing_secret_of_our_environment_reaches_an_instance(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    found = await bench.started(bench.open(), "a1")

    seen = processes.environment(found.pid)
    assert seen["HEADRACE_HOME"] == str(bench.home.root)
    assert "AWS_SECRET_ACCESS_KEY" not in seen


async def test_stop_lets_it_end_itself_and_takes_what_it_left(bench: Bench) -> None:
    compute = bench.open()
    found = await bench.started(compute, "a1")
    worker = bench.worker("a1")

    await compute.stop("a1")
    await until(lambda: not processes.identify(worker))
    await until(lambda: bench.ended == ["a1"])

    after = await bench.find(compute, "a1")
    assert (after.alive, after.exit_code) == (False, 0)
    assert not processes.identify(found.pid)


async def test_what_does_not_drain_in_time_is_killed_with_its_workers(bench: Bench) -> None:
    compute = bench.open(on_term="None", stop_bound_s=0.3)
    found = await bench.started(compute, "a1")

    await compute.stop("a1")
    await until(lambda: not processes.identify(found.pid))
    await until(lambda: not processes.identify(bench.worker("a1")))
    await until(lambda: bench.ended == ["a1"])

    assert (await bench.find(compute, "a1")).exit_code == -signal.SIGKILL


async def test_one_that_ends_in_the_middle_of_a_look_has_told_why(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = bench.open()
    found = await bench.started(compute, "a1")
    every, process = InstanceFolder.all, processes.identify(found.pid)
    assert process is not None

    def kill_first(instances: Path) -> Iterator[InstanceFolder]:
        os.kill(process.pid, signal.SIGKILL)
        assert not processes.wait_gone([process], BOUND_S)
        yield from every(instances)

    with monkeypatch.context() as patch:
        patch.setattr(InstanceFolder, "all", kill_first)
        await compute.list()
    await until(lambda: bench.ended == ["a1"])

    assert (await bench.find(compute, "a1")).exit_code == -signal.SIGKILL


async def test_workers_of_a_killed_scorer_do_not_outlive_it(bench: Bench) -> None:
    compute = bench.open()
    found = await bench.started(compute, "a1")

    os.kill(found.pid, signal.SIGKILL)
    await until(lambda: bench.ended == ["a1"])

    assert not (await bench.find(compute, "a1")).alive
    await until(lambda: not processes.identify(bench.worker("a1")))


async def test_a_second_compute_adopts_and_can_stop_what_runs(bench: Bench) -> None:
    first = bench.open()
    before = await bench.started(first, "a1")
    await first.close()

    second = bench.open()
    assert await bench.find(second, "a1") == before
    await second.stop("a1")
    await until(lambda: not processes.identify(before.pid))


async def test_a_start_that_is_given_up_half_way_is_written_down_all_the_same(
    bench: Bench,
) -> None:
    """As when control ends between a process' start and its record."""
    first = bench.open()
    starting = asyncio.create_task(first.start(launch("a1"), "secret"))
    await asyncio.sleep(0)  # it runs up to the thread that starts the process
    starting.cancel()
    await asyncio.wait((starting,))
    await first.close()

    (pid,) = _pids(bench)
    assert pid
    assert (await bench.find(bench.open(), "a1")).pid == pid


async def test_a_record_without_a_pid_finds_its_process(bench: Bench) -> None:
    """As a crash between the start and the second record leaves it."""
    first = bench.open()
    before = await bench.started(first, "a1")
    await first.close()
    record = bench.home.instances / "a1" / "record.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"pid": 0, "started": ""}))

    assert await bench.find(bench.open(), "a1") == before


async def test_a_record_without_a_process_is_an_ended_instance(bench: Bench) -> None:
    """As a crash before the start leaves it."""
    compute = bench.open()
    found = await bench.started(compute, "a1")
    await compute.kill("a1")
    await until(lambda: not processes.identify(found.pid))
    record = bench.home.instances / "a1" / "record.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"pid": 0, "started": ""}))

    assert not (await bench.find(bench.open(), "a1")).alive


async def test_a_reused_pid_is_not_taken_for_the_instance(bench: Bench) -> None:
    """The stranger starts after the instance's end, as the holder of a reused pid must."""
    compute = bench.open()
    found = await bench.started(compute, "a1")
    await compute.kill("a1")
    await until(lambda: not processes.identify(found.pid))
    stranger = subprocess.Popen(  # noqa: ASYNC220  # awaited by nobody
        [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
    )
    try:
        record = bench.home.instances / "a1" / "record.json"
        fields = json.loads(record.read_text()) | {"pid": stranger.pid}
        record.write_text(json.dumps(fields))

        other = bench.open()
        assert not (await bench.find(other, "a1")).alive
        await other.kill("a1")
        await other.stop("a1")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


async def test_logs_of_the_last_ended_instances_are_kept_until_erased(bench: Bench) -> None:
    compute = bench.open()
    ids = [f"a{n}" for n in range(KEPT_ENDED + 2)]
    for iid in ids:
        found = await bench.started(compute, iid)
        await compute.kill(iid)
        await until(lambda pid=found.pid: not processes.identify(pid))  # type: ignore[misc]
        await compute.list()
        await compute.forget(iid)

    assert await compute.list() == ()
    assert sorted(path.name for path in bench.home.instances.iterdir()) == ids[2:]
    assert "worker" in await compute.logs("iris", "blue")
    assert not list(bench.home.instances.glob("*/nats.creds"))

    await compute.erase("iris", "blue")
    assert await compute.logs("iris", "blue") == ""


async def test_logs_come_from_the_end_and_from_the_live_instance(bench: Bench) -> None:
    compute = bench.open()
    await bench.started(compute, "a1")
    log = bench.home.instances / "a1" / "inference-server.log"
    log.write_text("".join(f"line {n}\n" for n in range(100_000)))

    assert await compute.logs("iris", "blue", tail=2) == "line 99998\nline 99999\n"
    assert await compute.logs("iris", "blue", container=Container.STORAGE_INITIALIZER) == ""
    with pytest.raises(InstanceUnknown):
        await compute.logs("iris", "green", iid="a1")


async def test_a_start_the_system_refuses_leaves_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path)
    compute = ProcessCompute(home, command=(str(tmp_path / "missing"),))

    with pytest.raises(LaunchFailed):
        await compute.start(launch("a1"), "secret")
    assert await compute.list() == ()


@pytest.mark.parametrize("damage", ["more", "torn", "type"])
async def test_an_instance_whose_record_cannot_be_read_is_no_orphan(
    bench: Bench, damage: str
) -> None:
    """It is listed with who it is, stopped when asked, and its logs go with its deployment."""
    compute = bench.open()
    found = await bench.started(compute, "a1")
    path = bench.home.instances / "a1" / "record.json"
    fields = json.loads(path.read_text())
    texts = {
        "more": json.dumps(fields | {"container": "abc", "placement": {"host": "h"}}),
        "torn": path.read_text()[:20],
        "type": json.dumps(fields | {"revision": "three"}),
    }
    await compute.close()
    path.write_text(texts[damage])

    again = bench.open()
    seen = await bench.find(again, "a1")
    assert (seen.alive, seen.pid, seen.endpoint, seen.revision) == (True, found.pid, "iris", 3)
    await again.stop("a1")
    await until(lambda: not processes.identify(found.pid))
    assert not (await bench.find(again, "a1")).alive
    await again.forget("a1")
    await again.erase("iris", "blue")
    assert not path.exists()


async def test_a_folder_that_says_nothing_is_no_instance_and_stops_no_list(bench: Bench) -> None:
    compute = bench.open()
    await bench.started(compute, "a1")
    nameless = bench.home.instances / "b2"
    nameless.mkdir()
    (nameless / "record.json").write_text("{")

    assert [one.iid for one in await compute.list()] == ["a1"]
    with pytest.raises(InstanceUnknown):
        await compute.stop("b2")
    (nameless / "record.json").unlink()


async def test_what_left_a_worker_s_session_ends_with_its_instance_alone(bench: Bench) -> None:
    """Whatever way the instance ends: its scorer may be gone before it could do it itself."""
    compute = bench.open()
    detached = {}
    for iid in ("a1", "a11"):
        await bench.started(compute, iid)
        mark = str(bench.home.instances / iid / "worker")
        detached[iid] = subprocess.Popen(  # noqa: ASYNC220  # it says nothing
            ["sleep", "600"], start_new_session=True, env=os.environ | {WORKER_VARIABLE: mark}
        )
    try:
        await compute.kill("a1")
        assert await asyncio.to_thread(detached["a1"].wait, BOUND_S) == -signal.SIGKILL
        assert detached["a11"].poll() is None
        await compute.stop("a11")
        assert await asyncio.to_thread(detached["a11"].wait, BOUND_S) == -signal.SIGKILL
    finally:
        for one in detached.values():
            one.kill()
            one.wait()
