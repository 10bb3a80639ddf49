"""From a written spec to instances that run, and back, over updates, failures and restarts."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from headrace_bus.wire.route_record import Route, route_key
from headrace_services.control.fleet.rollout import RESTARTS_ALLOWED
from headrace_state.endpoint_keys import KeyPair
from headrace_state.records import (
    Instance,
    ProvisioningState,
    applied_key,
    asset_key,
    deployment_key,
    deployment_status_key,
    endpoint_key,
    instance_key,
)
from headrace_state.status_writer import StatusWriter
from support.reconcile_desk import Desk, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


async def served(desk: Desk, count: int = 1, **more: object) -> None:
    """A deployment `blue` that is ready."""
    await desk.code("good")
    await desk.endpoint("blue")
    done = await desk.ended(await desk.deployment(count=count, **more))  # type: ignore[arg-type]
    assert (done.status, done.error) == ("Succeeded", "")


async def test_a_created_deployment_runs_and_a_deleted_one_leaves_nothing(desk: Desk) -> None:
    await desk.reconciler()
    await desk.code("good")
    assert (await desk.ended(await desk.endpoint("blue"))).status == "Succeeded"

    done = await desk.ended(await desk.deployment(count=2))

    assert (done.status, done.error) == ("Succeeded", "")
    assert [name for name, _ in done.steps] == ["fetch", "environment", "load", "ready"]
    status = await desk.status()
    assert status is not None
    assert (status.provisioning_state, status.ready) == (ProvisioningState.SUCCEEDED, 2)
    assert len(await desk.running()) == 2

    gone = await desk.ended(await desk.delete(endpoint_key("iris")))

    assert gone.status == "Succeeded"
    assert await desk.running() == []
    assert not await desk.specs.list("deployment")
    assert not await desk.specs.list("endpoint")
    left = [key for key in await desk.state.list() if not key.startswith(("operation.", "lease."))]
    assert left == []
    assert list(desk.home.instances.iterdir()) == []


async def test_a_failing_init_fails_the_create_with_the_users_words(desk: Desk) -> None:
    await desk.reconciler()
    await desk.code("bad", init="raise ValueError('no such model')")
    await desk.endpoint("blue")

    done = await desk.ended(await desk.deployment("bad"))

    assert done.status == "Failed"
    assert "ValueError: no such model" in done.error
    assert [name for name, _ in done.steps] == ["fetch", "environment"]  # the next is what failed
    status = await desk.status()
    assert status is not None
    assert status.provisioning_state is ProvisioningState.FAILED

    async def nothing_runs() -> bool:
        return await desk.running() == []

    await until(nothing_runs)


async def test_phases_that_no_round_saw_are_told_with_the_failure(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def not_in_time(*_: object) -> None:
        """As when the next heartbeat is there before the round."""

    monkeypatch.setattr(StatusWriter, "progress", not_in_time)
    await desk.reconciler()
    await desk.code("bad", init="raise ValueError('no such model')")
    await desk.endpoint("blue")

    done = await desk.ended(await desk.deployment("bad"))

    assert [name for name, _ in done.steps] == ["fetch", "environment"]


async def test_a_missing_asset_fails_the_create(desk: Desk) -> None:
    await desk.reconciler()
    await desk.endpoint("blue")

    done = await desk.ended(await desk.deployment("never-uploaded"))

    assert (done.status, done.error_code) == ("Failed", "ResourceNotFound")
    assert "never-uploaded" in done.error


async def test_a_failed_update_leaves_the_old_instance_and_is_not_tried_again(desk: Desk) -> None:
    await desk.reconciler()
    await served(desk)
    before = await desk.running()
    await desk.code("bad", init="raise ValueError('no')")

    done = await desk.ended(await desk.deployment("bad"))

    assert done.status == "Failed"

    async def settled() -> bool:
        return [one.iid for one in await desk.running()] == [one.iid for one in before]

    await until(settled)
    os.kill(before[0].pid, signal.SIGKILL)

    async def replaced() -> bool:
        status = await desk.status()
        return status is not None and status.ready == 1 and await desk.running() != before

    await until(replaced)
    status = await desk.status()
    assert status is not None
    assert status.provisioning_state is ProvisioningState.FAILED


async def test_who_dies_before_ready_again_and_again_is_marked_until_one_is_ready(
    desk: Desk, tmp_path: Path
) -> None:
    """What an ingress then refuses at once; not after one death, which callers wait out."""
    await desk.reconciler()
    broken = tmp_path / "broken"
    await desk.code("moody", init=f"assert not os.path.exists({str(broken)!r})")
    await desk.endpoint("blue")
    assert (await desk.ended(await desk.deployment("moody"))).status == "Succeeded"
    (before,) = await desk.running()
    broken.touch()
    os.kill(before.pid, signal.SIGKILL)
    restarts: list[int] = []

    async def marked() -> bool:
        records = (await desk.state.list("instance")).values()
        restarts.extend(Instance.decode(one.value).restarts for one in records)
        route = await desk.state.get(route_key("iris"))
        assert route is not None
        return Route.decode(route.value).deployments["blue"].failed

    await until(marked)
    assert sorted(set(restarts)) == list(range(RESTARTS_ALLOWED + 1))
    broken.unlink()

    async def served_again() -> bool:
        status = await desk.status()
        return not await marked() and status is not None and status.ready == 1

    await until(served_again)


async def test_an_update_replaces_and_a_count_change_only_adds(desk: Desk) -> None:
    await desk.reconciler()
    await served(desk)
    first = {one.iid for one in await desk.running()}

    assert (await desk.ended(await desk.deployment(count=2))).status == "Succeeded"
    second = {one.iid for one in await desk.running()}
    assert first < second
    assert len(second) == 2

    done = await desk.ended(await desk.deployment(count=2, variables={"VERSION": "2"}))
    assert done.status == "Succeeded"
    third = {one.iid for one in await desk.running()}
    assert len(third) == 2
    assert not third & second


async def test_a_second_reconciler_adopts_and_starts_nothing_twice(desk: Desk) -> None:
    first = await desk.reconciler()
    await served(desk)
    before = await desk.running()
    await first._lease.release()
    await first.stop()

    second = await desk.reconciler()
    assert (await desk.ended(await desk.deployment(count=2))).status == "Succeeded"

    after = await desk.running()
    assert len(after) == 2
    assert {one.pid for one in before} < {one.pid for one in after}
    await second.stop()


async def test_what_no_record_wants_is_stopped(desk: Desk) -> None:
    reconciler = await desk.reconciler()
    await served(desk)
    (one,) = await desk.running()

    for key, record in (await desk.state.list("instance")).items():
        await desk.state.delete(key, record.revision)
    reconciler.wake()

    async def replaced() -> bool:
        return [other.iid for other in await desk.running()] not in ([], [one.iid])

    await until(replaced)

    async def single() -> bool:
        return len(await desk.running()) == 1

    await until(single)


async def test_keys_whose_writer_was_killed_come_into_force_with_their_operation(
    desk: Desk,
) -> None:
    keys = desk.stores.keys
    old, new = [KeyPair(primary=one * 32, secondary="s" * 32) for one in "ab"]
    first = await desk.endpoint()
    await keys.stage("iris", first, old)
    await desk.reconciler()
    await desk.ended(first)
    # Of a writer that lost: no spec carries its operation.
    await keys.stage("iris", "lost", new)

    await desk.ended(await desk.endpoint())
    record = await desk.state.get(route_key("iris"))
    assert record is not None
    assert Route.decode(record.value).key_digests == old.digests()
    assert await keys.read("iris") == old

    await desk.ended(await desk.delete(endpoint_key("iris")))
    await desk.ended(await desk.endpoint())
    assert await keys.read("iris") is None
    await keys.adopt("iris", "lost")
    assert await keys.read("iris") is None, "staged keys go with their endpoint"


async def test_the_route_follows_the_specs(desk: Desk) -> None:
    await desk.reconciler()
    await served(desk)

    record = await desk.state.get(route_key("iris"))
    assert record is not None
    assert set(Route.decode(record.value).deployments) == {"blue"}

    await desk.ended(await desk.delete(deployment_key("iris", "blue")))
    record = await desk.state.get(route_key("iris"))
    assert record is not None
    assert Route.decode(record.value).deployments == {}


@pytest.mark.parametrize("kind", ["endpoint", "deployment", "status", "applied", "instance"])
async def test_a_record_that_cannot_be_read_stops_nothing_and_holds_up_nobody_else(
    desk: Desk, kind: str
) -> None:
    await desk.reconciler()
    await served(desk)
    (one,) = await desk.running()
    bucket, key = {
        "endpoint": (desk.specs, endpoint_key("iris")),
        "deployment": (desk.specs, deployment_key("iris", "blue")),
        "status": (desk.state, deployment_status_key("iris", "blue")),
        "applied": (desk.state, applied_key("iris", "blue")),
        "instance": (desk.state, instance_key("iris", "blue", one.iid)),
    }[kind]
    whole, route = await bucket.get(key), await desk.state.get(route_key("iris"))
    assert whole is not None
    damaged = await bucket.update(key, b'{"seq": 1}', whole.revision)

    for _ in range(2):  # the round of the first is over when the second's begins
        assert (await desk.ended(await desk.endpoint(name="rose"))).status == "Succeeded"
    assert [other.iid for other in await desk.running()] == [one.iid]
    assert await desk.state.get(route_key("iris")) == route

    await bucket.update(key, whole.value, damaged)
    os.kill(one.pid, signal.SIGKILL)

    async def replaced() -> bool:
        return [other.iid != one.iid for other in await desk.running()] == [True]

    await until(replaced)


async def test_a_start_whose_asset_cannot_be_read_fails_by_its_name_and_what_serves_goes_on(
    desk: Desk,
) -> None:
    await desk.reconciler()
    await served(desk)
    (one,) = await desk.running()
    await desk.code("broken")
    key = asset_key("codes", "broken", "1")
    whole = await desk.specs.get(key)
    assert whole is not None
    await desk.specs.update(key, b'{"seq": 1}', whole.revision)

    ended = await desk.ended(await desk.deployment("broken"))

    assert ended.status == "Failed"
    assert key in ended.error
    assert [other.iid for other in await desk.running()] == [one.iid]
