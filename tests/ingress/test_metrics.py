"""What the ingress' metrics say of refusals, of copies and of instances."""

from __future__ import annotations

import re

from support.ingress_world import AUTH, World, make_route, url


async def text_of(world: World, listening: object) -> str:
    async with world.http.get(url(listening, "/metrics")) as got:  # type: ignore[arg-type]  # as `ingress` gives it
        return await got.text()


def samples(text: str, name: str) -> dict[str, float]:
    """Value by labels."""
    found = re.findall(rf"^{name}(?:\{{(.*)\}})? (\S+)$", text, re.MULTILINE)
    return {labels: float(value) for labels, value in found}


async def test_metrics_carry_the_labels_that_dashboards_ask_for(world: World) -> None:
    listening = await world.ingress()
    await world.route(make_route())
    await world.instance()
    text = await text_of(world, listening)
    of = 'endpoint="houses",deployment="blue",lane="online"'
    assert samples(text, "headrace_visible_instances")[of] == 1
    assert 'lane="online",term="accepted"' in text


async def test_an_edge_leaves_the_name_of_controls_count_alone(world: World) -> None:
    """A sum over `headrace_instances` counts each instance once, whoever is scraped."""
    listening = await world.ingress()
    await world.route(make_route())
    await world.instance()
    assert "headrace_instances" not in await text_of(world, listening)


async def test_a_refusal_is_counted_by_its_code_and_is_no_latency(world: World) -> None:
    listening = await world.ingress()
    await world.route(make_route())
    await world.instance()
    cases = {
        "/endpoints/none/score": AUTH,  # no such endpoint
        "/endpoints/houses/score": {},  # no credential
        "/nowhere": AUTH,
    }
    for path, headers in cases.items():
        async with world.http.post(url(listening, path), data=b"1", headers=headers) as got:
            assert got.status in (401, 404)
    async with world.http.post(url(listening), data=b"1", headers=AUTH) as got:
        assert got.status == 200

    text = await text_of(world, listening)

    codes = {
        code: count
        for labels, count in samples(text, "headrace_requests_total").items()
        for code in re.findall(r'code="(\d+)"', labels)
        if code != "200" or 'deployment="blue"' in labels
    }
    assert codes["401"] == 1
    assert codes["404"] >= 1
    took = samples(text, "headrace_request_duration_seconds_count")
    assert took == {'endpoint="houses",deployment="blue",lane="online"': 1}


async def test_a_shadow_that_fails_shows(world: World) -> None:
    listening = await world.ingress()
    await world.route(make_route(mirror={"green": 100}))
    await world.instance()
    shadow = await world.instance("green", "two")
    shadow.codes = {b"1": 500}

    for _ in range(4):
        async with world.http.post(url(listening), data=b"1", headers=AUTH) as got:
            assert got.status == 200
    async with world.http.post(url(listening), data=b"2", headers=AUTH) as got:
        assert got.status == 200

    async def counted() -> dict[str, float]:
        return samples(await text_of(world, listening), "headrace_mirror_answers_total")

    while sum((await counted()).values()) < 5:
        pass
    of = 'endpoint="houses",deployment="green",lane="online",code='
    assert await counted() == {f'{of}"500"': 4, f'{of}"200"': 1}
