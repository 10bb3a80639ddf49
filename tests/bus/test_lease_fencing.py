"""Leases: one holder, and one that is no longer it writes nothing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from headrace_api.errors import InvalidInput
from headrace_bus.errors import LeaseLost, RevisionConflict
from headrace_bus.store import holder
from headrace_bus.store.bucket import Bucket
from headrace_bus.store.lease import Lease
from support.platform_nats import PlatformNats, platform_nats

BOUND_S = 30.0


@pytest.fixture
async def nats() -> AsyncIterator[PlatformNats]:
    async with platform_nats() as nats:
        yield nats


@pytest.fixture
async def state(nats: PlatformNats) -> Bucket:
    return await Bucket.open(await nats.bus("control"), "state")


def holds(lease: Lease) -> bool:
    """`held` changes between two lines, which a type checker does not believe of a property."""
    return lease.held


async def wait_for(lease: Lease) -> None:
    async with asyncio.timeout(BOUND_S):
        while not await lease.acquire():  # noqa: ASYNC110  # an expiry makes no event
            await asyncio.sleep(0.05)


async def test_one_at_a_time_holds_it(state: Bucket) -> None:
    first, second = Lease(state, "r"), Lease(state, "r")

    assert await first.acquire()
    assert not await second.acquire()
    assert (first.held, second.held) == (True, False)


async def test_a_batch_writes_all_its_keys_and_tells_their_revisions(state: Bucket) -> None:
    lease = Lease(state, "r")
    await lease.acquire()

    revisions = await lease.write({"a": b"1", "b": b"2"}, {"a": 0, "b": None})

    found = await state.list()
    assert {key: found[key].revision for key in "ab"} == revisions
    assert found["lease.r"].revision == lease.revision
    again = await lease.write({"a": None, "b": b"3"}, revisions)
    assert await state.get("a") is None
    assert (await state.get("b") or pytest.fail("gone")).revision == again["b"]


async def test_an_empty_batch_only_renews(state: Bucket) -> None:
    lease = Lease(state, "r")
    await lease.acquire()
    before = lease.revision

    assert await lease.write({}) == {}
    assert lease.revision > before


async def test_a_key_that_changed_fails_the_whole_batch(state: Bucket) -> None:
    lease = Lease(state, "r")
    await lease.acquire()
    revisions = await lease.write({"a": b"1"})
    await state.update("a", b"else", revisions["a"])

    with pytest.raises(RevisionConflict) as conflict:
        await lease.write({"b": b"x", "a": b"2"}, revisions)

    assert conflict.value.key == "a"
    assert await state.get("b") is None
    await lease.write({"b": b"x"}, {"b": None})


async def test_a_deleted_key_may_be_created_in_a_batch(state: Bucket) -> None:
    lease = Lease(state, "r")
    await lease.acquire()
    revisions = await lease.write({"a": b"1"}, {"a": None})
    await lease.write({"a": None}, revisions)

    await lease.write({"a": b"2"}, {"a": None})

    assert (await state.get("a") or pytest.fail("gone")).value == b"2"


async def test_a_zombie_that_believes_it_holds_writes_nothing(state: Bucket) -> None:
    zombie = Lease(state, "r", ttl_s=1, now=lambda: 0.0)  # its clock stands still
    zombie._valid_until = 1.0
    await zombie.acquire()
    successor = Lease(state, "r", ttl_s=15)
    await wait_for(successor)

    assert holds(zombie)
    with pytest.raises(LeaseLost):
        await zombie.write({"untouched": b"zombie"})
    assert await state.get("untouched") is None
    assert not holds(zombie)
    await successor.write({"untouched": b"good"})


async def test_a_zombie_cannot_take_the_lease_back(state: Bucket) -> None:
    zombie, successor = Lease(state, "r", ttl_s=1), Lease(state, "r")
    await zombie.acquire()
    await wait_for(successor)

    with pytest.raises(LeaseLost):
        await zombie.renew()
    await zombie.release()
    assert successor.held
    await successor.renew()


async def test_a_holder_that_was_cut_off_takes_its_own_lease_back_at_once(state: Bucket) -> None:
    """NATS was away for longer than it may act unseen, and nobody else had the lease."""
    now = 0.0
    lease = Lease(state, "r", now=lambda: now)
    assert await lease.acquire()
    before = lease.revision
    now += 10.0
    assert not holds(lease)

    assert not await Lease(state, "r").acquire()
    assert await lease.acquire()

    assert holds(lease)
    assert lease.revision > before
    await lease.write({"a": b"1"})


async def test_a_holder_stops_acting_before_the_server_lets_others_in(state: Bucket) -> None:
    clock = [100.0]
    lease = Lease(state, "r", ttl_s=15, now=lambda: clock[0])
    await lease.acquire()

    clock[0] += 15 * 0.65
    assert holds(lease)
    clock[0] += 15 * 0.02
    assert not holds(lease)
    with pytest.raises(LeaseLost):
        await lease.write({"a": b"1"})
    assert await state.get("a") is None


async def test_a_released_lease_is_free_at_once(state: Bucket) -> None:
    first, second = Lease(state, "r"), Lease(state, "r")
    await first.acquire()
    await first.release()

    assert not first.held
    assert await second.acquire()


async def test_a_lease_is_taken_over_a_mark_of_its_expiry(state: Bucket) -> None:
    config = state._spec.stream() | {"subject_delete_marker_ttl": 600_000_000_000}
    await state.bus.jetstream_api("STREAM.UPDATE.KV_state", config)
    first, second = Lease(state, "r", ttl_s=1), Lease(state, "r")
    await first.acquire()

    await wait_for(second)

    assert second.revision > first.revision + 1, "no mark was written, so nothing was tested"


async def test_a_lease_outlives_a_restart_of_the_server(nats: PlatformNats, state: Bucket) -> None:
    lease, other = Lease(state, "r"), Lease(state, "r")
    await lease.acquire()
    await lease.write({"a": b"1"})

    await nats.kill()
    await nats.restart()

    assert not await other.acquire()
    await lease.write({"a": b"2"})
    await lease.renew()
    assert lease.held


async def test_a_batch_sent_while_the_server_is_away_is_whole(
    nats: PlatformNats, state: Bucket
) -> None:
    lease = Lease(state, "r")
    await lease.acquire()
    await nats.kill()
    write = asyncio.create_task(lease.write({"a": b"1", "b": b"2"}))
    await asyncio.sleep(0)
    await nats.restart()

    revisions = await write

    assert {key: record.revision for key, record in (await state.list()).items()} == {
        **revisions,
        "lease.r": lease.revision,
    }


async def test_a_count_under_the_lease_neither_skips_nor_doubles_over_kills(
    nats: PlatformNats, state: Bucket
) -> None:
    done = 0

    async def kill_often() -> None:
        for _ in range(4):
            seen = done
            while done < seen + 5:  # noqa: ASYNC110  (writes in between, however slow they are)
                await asyncio.sleep(0.01)
            await nats.kill()
            await nats.restart()

    lease = Lease(state, "r")
    await lease.acquire()
    revision = await lease.write({"count": b"0"}, {"count": None})
    kills = asyncio.create_task(kill_often())
    while not kills.done():
        revision = await lease.write({"count": str(done + 1).encode()}, revision)
        done += 1

    await kills
    assert done >= 20
    assert (await state.get("count") or pytest.fail("gone")).value == str(done).encode()


async def test_hold_keeps_the_lease_past_its_ttl_and_releases_it(state: Bucket) -> None:
    lease, other = Lease(state, "r", ttl_s=3), Lease(state, "r", ttl_s=3)
    lost = asyncio.Event()
    async with lease.hold(lost.set):
        first = lease.revision
        async with asyncio.timeout(BOUND_S):
            while lease.revision < first + 5:  # noqa: ASYNC110  # five renewals are 1.7 ttl
                await asyncio.sleep(0.05)
        assert not await other.acquire()

    assert not lost.is_set()
    assert await other.acquire()


async def test_hold_says_when_the_lease_is_lost(state: Bucket) -> None:
    lease = Lease(state, "r", ttl_s=1)
    lost = asyncio.Event()
    async with lease.hold(lost.set):
        await state.delete(lease.key, lease.revision)
        async with asyncio.timeout(BOUND_S):
            await lost.wait()
        assert not lease.held


async def test_hold_waits_for_its_turn(state: Bucket) -> None:
    first, second = Lease(state, "r", ttl_s=1), Lease(state, "r", ttl_s=1)
    await first.acquire()
    async with asyncio.timeout(BOUND_S), second.hold(lambda: None):
        assert second.held
        assert not first.held


async def test_writes_and_renewals_at_once_do_not_lose_the_lease(state: Bucket) -> None:
    lease = Lease(state, "r")
    await lease.acquire()

    await asyncio.gather(*(lease.write({f"k.{n}": b""}) for n in range(20)), lease.renew())

    assert len(await state.list("k")) == 20


async def test_a_batch_never_holds_the_lease_itself(state: Bucket) -> None:
    lease = Lease(state, "r")
    await lease.acquire()
    with pytest.raises(InvalidInput):
        await lease.write({"lease.r": b""})


async def test_a_lease_of_a_process_that_was_killed_here_is_taken_at_once(
    nats: PlatformNats, state: Bucket
) -> None:
    """Nobody waits 15 s for a holder that cannot come back; a live one keeps it."""
    program = (Path(__file__).parents[1] / "support" / "hold_a_lease.py").resolve()
    credentials = nats.identities.mint_role("control")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # the folder of this program has modules named as the library's
        str(program),
        nats.server.url,
        str(credentials),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(BOUND_S):
        assert await process.stdout.readline() == b"held\n"
    lease = Lease(state, "r")

    assert not await lease.acquire()
    process.kill()
    await process.wait()

    assert await lease.acquire()


def test_only_a_process_of_this_machine_can_be_told_to_have_ended() -> None:
    mark = holder.mark()
    assert mark
    assert not holder.ended(mark), "this process lives"
    place, pid, started = mark.split(" ")
    assert holder.ended(f"{place} {pid} {int(started) - 1}"), "the pid is another's now"
    assert not holder.ended(f"elsewhere {pid} {int(started) - 1}")
    assert not holder.ended("")
