"""What a round reads: copies that watches keep, over restarts and from one holder to the next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from headrace_bus.client.connection import Bus
from headrace_bus.store.feed import Delivery
from headrace_services.control.fleet.reconciler import Reconciler
from headrace_state.records import endpoint_key
from support.reconcile_desk import Desk, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
BOUND_S = 30.0  # ends failed tests only


async def served(desk: Desk) -> set[str]:
    """Ids of the instances of a deployment `blue` that is ready."""
    await desk.code("good")
    await desk.endpoint("blue")
    done = await desk.ended(await desk.deployment())
    assert (done.status, done.error) == ("Succeeded", "")
    return {one.iid for one in await desk.running()}


def counted_rounds(
    reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> Callable[[int], Awaitable[None]]:
    """A call that lets so many rounds begin and end."""
    done = 0
    ended = asyncio.Event()
    one_round = reconciler._round

    async def counted() -> float:
        nonlocal done
        pause_s = await one_round()
        done += 1
        ended.set()
        return pause_s

    async def rounds(count: int) -> None:
        wanted = done + count + 1  # one may have begun before the call
        async with asyncio.timeout(BOUND_S):
            while done < wanted:
                ended.clear()
                reconciler.wake()
                await ended.wait()

    monkeypatch.setattr(reconciler, "_round", counted)
    return rounds


async def test_an_idle_round_asks_jetstream_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by a control that starts long after the last operation: they are kept for a day."""
    before = await desk.reconciler()
    await served(desk)
    await before.stop()
    for key, record in (await desk.state.list("operation")).items():
        await desk.state.delete(key, record.revision)
    rounds = counted_rounds(await desk.reconciler(), monkeypatch)
    await rounds(2)
    asked: list[str] = []
    request = Bus.request

    async def counted(self: Bus, subject: str, *args: Any, **more: Any) -> Any:
        asked.append(subject)
        return await request(self, subject, *args, **more)

    monkeypatch.setattr(Bus, "request", counted)
    await rounds(10)

    beside = (".lease.reconcile", "CONSUMER.CREATE")  # its renewal, and a listing every 30 s
    assert [one for one in asked if not any(word in one for word in beside)] == []
    assert len(asked) < 10


async def test_rounds_go_on_after_the_server_was_killed_and_started_again(desk: Desk) -> None:
    await desk.reconciler()
    before = await served(desk)

    await desk.nats.kill()
    await desk.nats.restart()
    done = await desk.ended(await desk.deployment(count=2))

    assert (done.status, done.error) == ("Succeeded", "")
    after = {one.iid for one in await desk.running()}
    assert before < after
    assert len(after) == 2
    gone = await desk.ended(await desk.delete(endpoint_key("iris")))
    assert gone.status == "Succeeded"
    assert await desk.running() == []


async def test_who_takes_the_lease_knows_what_the_holder_before_wrote(desk: Desk) -> None:
    """Though its own copy has heard nothing of it: otherwise it would stop what it never saw."""
    first = await desk.reconciler()
    second = await desk.reconciler()
    for cache in second._caches.all():
        await cache.current()
        feed = cache._watcher._feed
        assert feed is not None
        feed._deliver = _lose
    before = await served(desk)
    await first.stop()

    async def taken() -> bool:
        return second._lease.held

    await until(taken)
    done = await desk.ended(await desk.deployment(count=2))

    assert (done.status, done.error) == ("Succeeded", "")
    after = {one.iid for one in await desk.running()}
    assert before < after
    assert len(after) == 2


def _lose(message: Delivery) -> None:
    """As on the way to a process that is behind."""


async def test_the_next_round_sees_what_this_process_wrote(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the write itself: no message of the feed is needed for it."""
    reconciler = await desk.reconciler()
    await served(desk)
    rounds = counted_rounds(reconciler, monkeypatch)
    for cache in reconciler._caches.all():
        feed = cache._watcher._feed
        assert feed is not None
        feed._deliver = _lose
    specs = reconciler._stores.specs
    record = await specs.get(endpoint_key("iris"))
    assert record is not None

    revision = await specs.update(record.key, record.value, record.revision)
    await rounds(1)

    found = reconciler._caches.specs.get(endpoint_key("iris"))
    assert found is not None
    assert found.revision == revision
