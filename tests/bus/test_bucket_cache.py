"""A copy of a bucket in memory: our writes at once, others' soon, and after each lost server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from headrace_bus.client.connection import Bus
from headrace_bus.errors import BusDisconnected
from headrace_bus.store import cache as cache_module
from headrace_bus.store.bucket import Bucket
from headrace_bus.store.cache import SETTLED_S, BucketCache
from headrace_bus.store.feed import Delivery
from headrace_bus.store.lease import Lease
from headrace_telemetry.tasks import Tasks
from support.platform_nats import PlatformNats, platform_nats

BOUND_S = 30.0  # ends failed tests only
PREFIXES = ("route", "status")


@pytest.fixture
async def nats() -> AsyncIterator[PlatformNats]:
    async with platform_nats() as nats:
        yield nats


@pytest.fixture
async def bucket(nats: PlatformNats) -> Bucket:
    return await Bucket.open(await nats.bus("control"), "state")


@pytest.fixture
async def other(nats: PlatformNats, bucket: Bucket) -> Bucket:
    """The same bucket as another process has it."""
    return Bucket(await nats.bus("control"), bucket.name)


@asynccontextmanager
async def followed(bucket: Bucket, **more: Callable[[], float]) -> AsyncIterator[BucketCache]:
    cache = BucketCache(bucket, PREFIXES, **more)
    tasks = Tasks("test")
    tasks.forever(cache.follow(), "follow")
    await cache.current()
    try:
        yield cache
    finally:
        await tasks.stop()


async def changed_to(cache: BucketCache, key: str, value: bytes | None) -> None:
    """Wait until the copy has the value, or has no such key."""
    changed = asyncio.Event()
    cache.on_change(changed.set)
    async with asyncio.timeout(BOUND_S):
        while True:
            changed.clear()
            found = cache.get(key)
            if (found.value if found else None) == value:
                return
            await changed.wait()


async def test_what_was_there_is_in_it_and_other_prefixes_are_not(bucket: Bucket) -> None:
    revision = await bucket.create("route.a", b"1")
    await bucket.create("other.a", b"1")
    gone = await bucket.create("route.b", b"1")
    await bucket.delete("route.b", gone)

    async with followed(bucket) as cache:
        assert cache.list("route") == await bucket.list("route")
        found = cache.get("route.a")
        assert found is not None
        assert (found.value, found.revision) == (b"1", revision)
        assert cache.get("route.b") is None
        assert cache.list("status") == {}
        with pytest.raises(KeyError):
            cache.list("other")


async def test_a_list_is_of_whole_tokens(bucket: Bucket) -> None:
    for key in ("status.endpoint.a", "status.endpoint.ab", "status.endpoint.a.b"):
        await bucket.create(key, b"1")
    async with followed(bucket) as cache:
        assert cache.list("status.endpoint.a") == await bucket.list("status.endpoint.a")
        assert cache.list("status") == await bucket.list("status")


async def test_our_own_writes_are_in_it_when_they_return(bucket: Bucket) -> None:
    lease = Lease(bucket, "test")
    assert await lease.acquire()
    async with followed(bucket) as cache:
        revision = await bucket.create("route.a", b"1")
        assert cache.list("route")["route.a"].revision == revision
        revision = await bucket.update("route.a", b"2", revision)
        assert cache.list("route")["route.a"].value == b"2"

        written = await lease.write({"route.b": b"3", "route.a": None})
        assert cache.get("route.a") is None
        assert cache.list("route")["route.b"].revision == written["route.b"]

        await bucket.delete("route.b", written["route.b"])
        assert cache.list("route") == {}


async def test_each_change_of_others_is_told_once_and_comes_without_asking(
    bucket: Bucket, other: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision = await other.create("route.a", b"1")
    async with followed(bucket) as cache:
        told: list[int] = []
        cache.on_change(lambda: told.append(len(told)))
        asked = count_requests(bucket.bus, monkeypatch)

        revision = await other.update("route.a", b"2", revision)
        await changed_to(cache, "route.a", b"2")
        await other.delete("route.a", revision)
        await changed_to(cache, "route.a", None)
        await bucket.bus.flush()

        assert len(told) == 2
        assert asked == []


def count_requests(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The subjects of what is asked on a connection from now on."""
    asked: list[str] = []
    request = bus.request

    async def counted(subject: str, *args: object, **more: object) -> object:
        asked.append(subject)
        return await request(subject, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(bus, "request", counted)
    return asked


async def test_an_older_message_does_not_undo_our_write(bucket: Bucket) -> None:
    """As when the feed is behind, or a listing comes from a replica that lags."""
    now_s = 100.0
    first = await bucket.create("route.a", b"1")
    async with followed(bucket, now=lambda: now_s) as cache:
        subject = bucket.subject("route.a")
        await bucket.update("route.a", b"2", first)

        cache._keep(Delivery(subject, first, {}, b"1"))
        cache._listed(set())
        assert cache.list("route")["route.a"].value == b"2"

        now_s += SETTLED_S + 0.1  # by now every replica knows: the store itself went back
        cache._keep(Delivery(subject, first, {}, b"1"))
        assert cache.list("route")["route.a"].value == b"1"
        now_s += SETTLED_S + 0.1
        cache._listed(set())
        assert cache.list("route") == {}


async def test_what_changed_while_the_server_was_gone_is_in_it_after_the_restart(
    nats: PlatformNats, bucket: Bucket, other: Bucket
) -> None:
    revision = await bucket.create("route.a", b"1")
    gone = await bucket.create("route.b", b"1")
    async with followed(bucket) as cache:
        await nats.kill()
        await nats.restart()
        await other.update("route.a", b"2", revision)
        await other.delete("route.b", gone)
        await other.create("route.c", b"3")
        await cache.current()
        for key, value in (("route.a", b"2"), ("route.b", None), ("route.c", b"3")):
            await changed_to(cache, key, value)
        assert cache.list("route") == await bucket.list("route")


async def test_messages_lost_on_the_way_are_found_by_a_relist(
    bucket: Bucket, other: Bucket
) -> None:
    revision = await bucket.create("route.a", b"1")
    gone = await bucket.create("route.b", b"1")
    async with followed(bucket) as cache:
        feed = cache._watcher._feed
        assert feed is not None
        feed._deliver = _lose  # messages lost on the way
        await other.update("route.a", b"2", revision)
        await other.delete("route.b", gone)
        await bucket.bus.flush()

        cache.relist()
        await cache.current()

        assert cache.list("route") == await bucket.list("route")
        assert cache.list("route")["route.a"].value == b"2"


def _lose(message: Delivery) -> None:
    pass


async def test_nothing_is_current_while_the_server_is_gone(
    nats: PlatformNats, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "CURRENT_WITHIN_S", 0.2)
    async with followed(bucket) as cache:
        lost = asyncio.Event()
        bucket.bus.on_disconnect(lost.set)
        await nats.kill()
        await asyncio.wait_for(lost.wait(), BOUND_S)
        with pytest.raises(BusDisconnected, match="'state'"):
            await cache.current()
        await nats.restart()
        monkeypatch.setattr(cache_module, "CURRENT_WITHIN_S", BOUND_S)
        await cache.current()


async def test_a_revision_is_waited_for(bucket: Bucket, other: Bucket) -> None:
    async with followed(bucket) as cache:
        cache.relist()
        revision = await other.create("route.a", b"1")
        await cache.current(revision=revision)
        assert cache.get("route.a") is not None
