"""Which compute and which host an instance runs on, and what is done where that cannot be told."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from headrace_api.home import Home
from headrace_bus.wire.launch import Launch
from headrace_scaler.compute.computes import PROCESS, Computes
from headrace_scaler.compute.port import Running
from headrace_scaler.compute.process import ProcessCompute
from headrace_scaler.errors import ComputeError, InstanceUnknown
from headrace_services.control.fleet import rollout
from headrace_state.records import Instance, instance_key
from support.reconcile_desk import Desk, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
EVENINGS = 5


class Engine(ProcessCompute):
    """A compute whose engine may stop answering."""

    answers = True
    starts = 0

    async def start(self, launch: Launch, credentials: str) -> None:
        self.starts += 1
        await super().start(launch, credentials)

    async def list(self) -> tuple[Running, ...]:
        if not self.answers:
            raise ComputeError("the engine does not answer")
        return await super().list()


async def records(desk: Desk) -> dict[str, Instance]:
    found = [Instance.decode(one.value) for one in (await desk.state.list("instance")).values()]
    return {one.iid: one for one in found}


async def edit(desk: Desk, iid: str, **changes: str) -> None:
    """Change the record of an instance, as another release might have written it."""
    key = instance_key("iris", "blue", iid)
    stored = await desk.state.get(key)
    assert stored is not None
    changed = replace(Instance.decode(stored.value), **changes)  # type: ignore[arg-type]
    await desk.state.update(key, changed.encode(), stored.revision)


async def is_ready(desk: Desk, name: str = "blue", count: int = 1) -> bool:
    status = await desk.status(name)
    return status is not None and status.ready == count


async def served(desk: Desk, **more: object) -> str:
    """A deployment `blue` that is ready; the id of its instance."""
    await desk.code("good")
    await desk.endpoint("blue")
    done = await desk.ended(await desk.deployment(**more))  # type: ignore[arg-type]
    assert (done.status, done.error) == ("Succeeded", "")
    (iid,) = await records(desk)
    return iid


def beside(desk: Desk, name: str) -> Home:
    """Another home that reaches the same bytes."""
    home = Home(desk.home.root.parent / name)
    home.root.mkdir()
    home.blobs.symlink_to(desk.home.blobs)
    return home


async def both_live(compute: ProcessCompute) -> bool:
    return len(await lived(compute)) == 2


async def lived(compute: ProcessCompute) -> set[str]:
    return {one.iid for one in await compute.list() if one.alive}


async def test_the_end_of_what_has_served_is_no_failed_start_whoever_remembers_it(
    desk: Desk,
) -> None:
    """Evening after evening the platform goes down; each morning everything is there at once."""
    control = await desk.reconciler()
    await served(desk)
    for _ in range(EVENINGS):
        await until(lambda: all_were_ready(desk))
        await control.stop()
        (running,) = await desk.running()
        os.kill(running.pid, signal.SIGKILL)
        control = await desk.reconciler()
        gone = running.iid
        await until(lambda gone=gone: replaced(desk, gone))  # type: ignore[misc]
    await until(lambda: is_ready(desk))
    assert [one.restarts for one in (await records(desk)).values()] == [0]
    done = await desk.ended(await desk.deployment(count=2))
    assert (done.status, done.error) == ("Succeeded", "")


async def all_were_ready(desk: Desk) -> bool:
    found = await records(desk)
    return bool(found) and all(one.was_ready for one in found.values())


async def replaced(desk: Desk, iid: str) -> bool:
    found = await records(desk)
    return bool(found) and iid not in found


async def test_a_record_names_compute_and_host_from_its_first_write(desk: Desk) -> None:
    computes = Computes.of_home(desk.home)
    await desk.reconciler(computes)
    iid = await served(desk)
    record = (await records(desk))[iid]
    assert (record.compute, record.host) == (PROCESS, computes.host)
    assert Computes.of_home(desk.home).host == computes.host
    assert Computes.of_home(beside(desk, "other")).host != computes.host


async def test_what_an_engine_that_is_silent_runs_is_unknown_and_the_others_go_on(
    desk: Desk,
) -> None:
    engine, host = Engine(desk.home), "h1"
    control = await desk.reconciler(Computes({PROCESS: engine}, host=host))
    iid = await served(desk)
    await control.stop()
    (running,) = await desk.running()

    engine.answers = False
    second = ProcessCompute(beside(desk, "second"))
    both = Computes({PROCESS: engine, "second": second}, host=host, default="second")
    control = await desk.reconciler(both)
    os.kill(running.pid, signal.SIGKILL)
    await desk.endpoint("blue", "green")
    done = await desk.ended(await desk.deployment(name="green"))
    assert (done.status, done.error) == ("Succeeded", "")
    assert iid in await records(desk), "nothing is known of it, so it is not replaced"
    assert {one.compute for one in (await records(desk)).values()} == {PROCESS, "second"}

    engine.answers = True
    control.wake()
    await until(lambda: replaced(desk, iid))
    await until(lambda: is_ready(desk))
    for one in await lived(second):
        await second.kill(one)


async def test_nothing_is_started_where_nothing_answers(desk: Desk) -> None:
    engine = Engine(desk.home)
    control = await desk.reconciler(Computes({PROCESS: engine}, host="h1"))
    await served(desk)
    engine.answers = False
    asked = await desk.deployment(count=2)
    for _ in range(3):  # each ends in a round of its own
        await desk.ended(await desk.endpoint("blue"))
    assert engine.starts == 1

    engine.answers = True
    control.wake()
    assert (await desk.ended(asked)).status == "Succeeded"
    assert engine.starts == 2


async def test_what_no_record_wants_ends_beside_a_compute_that_is_silent(desk: Desk) -> None:
    silent, good = Engine(beside(desk, "silent")), Engine(desk.home)
    silent.answers = False
    computes = Computes({"silent": silent, PROCESS: good}, host="h1")
    control = await desk.reconciler(computes)
    iid = await served(desk)
    await control.stop()
    key = instance_key("iris", "blue", iid)
    stored = await desk.state.get(key)
    assert stored is not None
    await desk.state.delete(key, stored.revision)

    await desk.reconciler(computes)
    await until(lambda: ended(good, iid))


async def ended(compute: ProcessCompute, iid: str) -> bool:
    return iid not in await lived(compute)


async def test_an_instance_of_a_compute_that_this_host_no_longer_has_is_unknown(
    desk: Desk,
) -> None:
    control = await desk.reconciler(Computes.of_home(desk.home))
    iid = await served(desk)
    await control.stop()
    await edit(desk, iid, compute="docker")

    await desk.reconciler(Computes.of_home(desk.home))
    await desk.endpoint("blue", "green")
    done = await desk.ended(await desk.deployment(name="green"))
    assert (done.status, done.error) == ("Succeeded", "")
    assert iid in await records(desk)


async def test_logs_are_found_on_whichever_compute_has_the_instance(desk: Desk) -> None:
    first, second = ProcessCompute(beside(desk, "first")), ProcessCompute(desk.home)
    both = Computes({"first": first, PROCESS: second}, host="h1")
    await desk.reconciler(both)
    iid = await served(desk)
    assert "ready for serving" in await both.logs("iris", "blue", iid=iid)
    with pytest.raises(InstanceUnknown):
        await both.logs("iris", "blue", iid="nobody")


async def test_a_record_of_an_earlier_release_learns_where_its_instance_runs(desk: Desk) -> None:
    first = Computes.of_home(desk.home)
    control = await desk.reconciler(first)
    iid = await served(desk)
    await control.stop()
    await edit(desk, iid, host="", compute="")

    await desk.reconciler(first)

    async def knows() -> bool:
        record = (await records(desk))[iid]
        return (record.host, record.compute) == (first.host, PROCESS)

    await until(knows)


async def test_a_control_elsewhere_never_starts_an_instance_again_under_its_id(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Computes.of_home(desk.home)
    control = await desk.reconciler(first)
    iid = await served(desk)
    await until(lambda: all_were_ready(desk))
    await control.stop()

    home = beside(desk, "elsewhere")
    second = Computes.of_home(home)
    await desk.reconciler(second)
    await desk.endpoint("blue")
    done = await desk.ended(await desk.deployment(count=2))
    assert (done.status, done.error) == ("Succeeded", "")
    here = await lived(ProcessCompute(home))
    assert (len(here), iid in here) == (1, False)
    assert {one.iid for one in await desk.running()} == {iid}, "it serves on where it is"

    monkeypatch.setattr(rollout, "SILENCE_BOUND_S", 2.0)
    (running,) = await desk.running()
    os.kill(running.pid, signal.SIGKILL)
    await until(lambda: replaced(desk, iid))
    eye = ProcessCompute(home)
    await until(lambda: both_live(eye))
    for one in await lived(eye):
        await eye.kill(one)


async def test_what_belongs_to_something_else_is_left_alone(desk: Desk) -> None:
    """An instance of a job's step: no deployment wants it, and that is no reason to stop it."""
    computes = Computes.of_home(desk.home)
    control = await desk.reconciler(computes)
    iid = await served(desk)
    launch = Launch.read(desk.home.instances / iid / "launch.json")
    step = replace(launch, iid="step1", deployment="step", owner="job")
    record = (await records(desk))[iid]
    key = instance_key(step.endpoint, step.deployment, step.iid)
    mine = replace(record, iid=step.iid, deployment=step.deployment, owner="job")
    await desk.state.create(key, mine.encode())
    credentials = (desk.home.instances / iid / "nats.creds").read_text()
    await computes.start(PROCESS, step, credentials)
    nameless = replace(step, iid="step2")  # nobody has written it down
    await computes.start(PROCESS, nameless, credentials)

    for count in (2, 1):  # rounds that change something
        done = await desk.ended(await desk.deployment(count=count))
        assert done.status == "Succeeded"
    control.wake()
    assert {"step1", "step2"} <= await lived(ProcessCompute(desk.home))
    assert "step1" in await records(desk)


def test_the_id_of_a_host_is_kept(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert Computes.of_home(home).host == Computes.of_home(home).host
