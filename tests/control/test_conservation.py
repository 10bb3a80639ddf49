"""An audit by a control that has only just begun to listen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from headrace_bus.client.connection import Bus
from headrace_bus.client.settings import BusSettings
from headrace_bus.store.bucket import Bucket
from headrace_bus.wire.conservation import Terms
from headrace_services.control.arm.request import Call
from headrace_services.control.identity.auth import ADMIN
from headrace_services.control.trail import request_accounting
from headrace_services.control.trail.request_accounting import MOST_GONE, ONLINE, Conservation
from headrace_state.fleet_view import FleetView
from headrace_state.records import UnreadableRecord, conservation_key
from support.damage import damage
from support.ingress_world import AUTH, BOUND_S, World, make_route, running_world, url
from support.nats_server import NatsServer

SLOW = json.dumps({"sleep_s": 60}).encode()


@pytest.fixture
async def snapshot(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[World]:
    async with running_world(nats_server, tmp_path) as one:
        yield one


async def _audited(snapshot: World) -> dict[str, Any]:
    """By a control that starts for it."""
    async with _control(snapshot) as books:
        return dict((await books.audit(Call(principal=ADMIN, path={}))).body)


@asynccontextmanager
async def _control(snapshot: World) -> AsyncIterator[Conservation]:
    """The books of one life of control."""
    bus = await Bus.connect(BusSettings(url=snapshot.server.url, name="control"))
    view = FleetView()
    books = Conservation(bus, Bucket(bus, "state"), view)
    await view.listen(bus)
    await books.start()
    try:
        yield books
    finally:
        await books.stop()
        await bus.close()


async def test_what_an_ingress_says_last_is_known_to_the_next_control(snapshot: World) -> None:
    """Both end at once, as in `headrace down`: before it was time to write anything down."""
    listening = await snapshot.ingress("in-one")
    await snapshot.route(make_route())
    await snapshot.instance()
    async with _control(snapshot):
        asking = [
            asyncio.create_task(
                snapshot.http.post(
                    url(listening), data=b'{"sleep_s": 1}', headers=AUTH
                ).__aenter__()
            )
            for _ in range(3)
        ]
        await snapshot.until(lambda: sum(snapshot.in_flight["in-one"].values()) == 3)
        stop, ingress = snapshot.stops.pop()
        stop.set()
        await ingress
        assert [(await one).status for one in asking] == [200, 200, 200]

    async with _control(snapshot) as books:
        assert await books.online() == Terms(accepted=3, completed=3)


async def test_records_of_ingresses_that_are_gone_are_bounded(
    snapshot: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_accounting, "KEEP_S", 0.05)
    await snapshot.ingress("in-one")
    before, prefix = Terms(), conservation_key(ONLINE)
    for rounds in range(2):
        for number in range(MOST_GONE + 10):
            terms = Terms(accepted=3, completed=2, in_flight=number % 2, failed=1 - number % 2)
            value = json.dumps(asdict(terms)).encode()
            await snapshot.state.create(conservation_key(ONLINE, f"in-{rounds}-{number}"), value)
            before = Terms.sum([before, terms.with_its_ingress_gone()])

        async with _control(snapshot) as books, asyncio.timeout(BOUND_S):
            async with aclosing(snapshot.state.watch(prefix)) as changes:
                async for _ in changes:
                    found = await snapshot.state.list(prefix)
                    if len(found) <= MOST_GONE + 2:
                        break
            assert await books.online() == before
        assert conservation_key(ONLINE, "in-one") in found
        assert conservation_key(ONLINE, f"in-{rounds}-{MOST_GONE + 9}") in found


@pytest.mark.parametrize("left", [("in-one", "in-gone"), ()], ids=["known", "unknown"])
async def test_the_first_audit_after_a_start_counts_each_live_ingress_as_live(
    snapshot: World, left: tuple[str, ...]
) -> None:
    """Whether or not the control before lived long enough to write its terms down."""
    listening = await snapshot.ingress("in-one")
    await snapshot.route(make_route())
    await snapshot.instance()
    asking = asyncio.create_task(
        snapshot.http.post(url(listening), data=SLOW, headers=AUTH).__aenter__()
    )
    await snapshot.until(lambda: sum(snapshot.in_flight["in-one"].values()) == 1)
    # What the control before left: of this ingress, and of one that is gone.
    for name in left:
        terms = json.dumps(asdict(Terms(accepted=1, in_flight=1))).encode()
        await snapshot.state.create(conservation_key(ONLINE, name), terms)

    found = await _audited(snapshot)

    gone = left.count("in-gone")
    told = (found["accepted"], found["in_flight"], found["lost_with_ingress"])
    assert told == (1 + gone, 1, gone), found
    asking.cancel()


async def test_books_that_cannot_be_read_name_themselves_unless_their_ingress_still_speaks(
    snapshot: World,
) -> None:
    """A sum without them would be told as whole."""
    await snapshot.ingress("in-one")
    await damage(snapshot.server.url, "state", conservation_key(ONLINE, "in-one"), b"[]")
    assert (await _audited(snapshot))["balanced"]

    for data in (b"[]", b"\xff", b'{"accepted": "many"}'):
        await damage(snapshot.server.url, "state", conservation_key(ONLINE, "in-gone"), data)
        with pytest.raises(UnreadableRecord, match=r"conservation\.online\.in-gone"):
            await _audited(snapshot)
