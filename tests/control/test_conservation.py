"""An audit by a control that has only just begun to listen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
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
from headrace_services.control.trail.request_accounting import ONLINE, Conservation
from headrace_state.fleet_view import FleetView
from headrace_state.records import UnreadableRecord, conservation_key
from support.damage import damage
from support.ingress_world import AUTH, World, make_route, running_world, url
from support.nats_server import NatsServer

SLOW = json.dumps({"sleep_s": 60}).encode()


@pytest.fixture
async def snapshot(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[World]:
    async with running_world(nats_server, tmp_path) as one:
        yield one


async def _audited(snapshot: World) -> dict[str, Any]:
    """By a control that starts for it."""
    bus = await Bus.connect(BusSettings(url=snapshot.server.url, name="control"))
    view = FleetView()
    books = Conservation(bus, Bucket(bus, "state"), view)
    await view.listen(bus)
    await books.start()
    try:
        return dict((await books.audit(Call(principal=ADMIN, path={}))).body)
    finally:
        await books.stop()
        await bus.close()


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
