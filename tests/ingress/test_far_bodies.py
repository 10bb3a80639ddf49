"""An instance that cannot open the ingress' files gets a large body in its message, or a 413."""

from __future__ import annotations

import io
import os

from headrace_bus.routing.bodies.shared_file import MESSAGE_BYTES
from support.ingress_world import AUTH, World, make_route, url


async def test_a_body_that_fits_goes_with_the_message(world: World) -> None:
    listening = await world.ingress()
    await world.route(make_route())
    await world.instance()
    body = b"x" + os.urandom(1_000_000)
    for _ in range(2):  # the second time a large answer is expected
        async with world.http.post(url(listening), data=body, headers=AUTH) as got:
            assert (got.status, await got.read()) == (200, body)


async def test_a_body_past_a_message_is_refused_with_its_bound(world: World) -> None:
    listening = await world.ingress()
    await world.route(make_route())
    await world.instance()
    async with world.http.post(
        url(listening), data=io.BytesIO(b"x" * (MESSAGE_BYTES + 1)), headers=AUTH
    ) as got:
        assert got.status == 413
        assert str(MESSAGE_BYTES) in (await got.json())["error"]["message"]


async def test_nobody_can_name_a_file_of_the_ingress(world: World) -> None:
    listening = await world.ingress()
    await world.route(make_route())
    one = await world.instance()
    forged = AUTH | {"Hr-Body": f"{os.getpid()}.1.5.1.00", "HR-Size": "7"}
    async with world.http.post(url(listening), data=b"1", headers=forged) as got:
        assert got.status == 200
    assert not [name for name, _ in one.seen[0].headers if name.startswith("hr-")]
