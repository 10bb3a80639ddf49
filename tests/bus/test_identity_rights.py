"""What each identity may do, asked of a real server in operator mode."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import stat
from pathlib import Path

import pytest
from nats.errors import TimeoutError as NatsTimeout

from headrace_api.errors import InvalidInput
from headrace_api.home import Home
from headrace_bus.client.credentials import Credentials
from headrace_bus.client.identity import Identities
from headrace_bus.client.jwt import Permissions
from headrace_bus.client.nkeys import KeyKind, KeyPair
from headrace_bus.client.roles import Role
from headrace_bus.client.server import EmbeddedServer, accepts
from headrace_bus.wire import subjects
from headrace_bus.wire.subjects import InstanceAddress
from support.raw_nats import raw_client

BOUND_S = 30.0  # ends failed tests only

BLUE = InstanceAddress("ep", "blue", "i1")
GREEN = InstanceAddress("ep", "green", "i2")
SIBLING = InstanceAddress("ep", "blue", "i3")


async def test_an_instance_uses_its_own_subjects(
    server: EmbeddedServer, identities: Identities
) -> None:
    async with raw_client(server.url, identities.mint_instance(BLUE)) as instance:
        assert await instance.may_subscribe(subjects.instance(BLUE))
        assert await instance.may_subscribe(subjects.instance_control(BLUE))
        assert await instance.may_subscribe("_INBOX_i1.>")
        assert await instance.may_publish(subjects.heartbeat(BLUE))


def test_a_file_with_the_rights_of_another_release_is_minted_anew(
    identities: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    wider = Permissions(publish=(">",), subscribe=(">",))
    monkeypatch.setattr("headrace_bus.client.identity.permissions", lambda role: wider)
    old = identities.ensure_role(Role.INGRESS).read_text()
    monkeypatch.undo()

    new = identities.ensure_role(Role.INGRESS).read_text()
    again = identities.ensure_role(Role.INGRESS)

    assert new != old
    assert again.read_text() == new
    assert stat.S_IMODE(again.stat().st_mode) == 0o600
    again.write_text("damaged")
    assert identities.ensure_role(Role.INGRESS).read_text() not in (old, new, "damaged")


@pytest.mark.parametrize("other", [GREEN, SIBLING], ids=["other deployment", "sibling"])
async def test_an_instance_neither_reads_nor_writes_for_another(
    server: EmbeddedServer, identities: Identities, other: InstanceAddress
) -> None:
    async with raw_client(server.url, identities.mint_instance(BLUE)) as instance:
        for subject in (
            subjects.instance(other),
            subjects.instance_control(other),
            subjects.heartbeat(other),
            f"_INBOX_{other.iid}.x",
        ):
            assert not await instance.may_subscribe(subject), subject
            assert not await instance.may_publish(subject), subject


@pytest.mark.parametrize(
    "subject",
    [
        "$JS.API.INFO",
        "$JS.API.STREAM.MSG.GET.KV_spec",
        "$JS.API.STREAM.LIST",
        "$JS.API.STREAM.PURGE.KV_state",
        "$JS.API.STREAM.DELETE.KV_spec",
        "$JS.API.STREAM.CREATE.mine",
        "$JS.API.CONSUMER.CREATE.KV_secrets.c",
        "$JS.API.STREAM.MSG.GET.KV_secrets",
        "$KV.spec.x",
        "$KV.state.x",
        "$KV.secrets.x",
        "changed.ep",
        "wake.ep.blue",
        "score.ep",
        "heartbeat.ingress.a",
        "sysev.X",
        "$SYS.REQ.SERVER.PING",
        "_INBOX_control.x",
        "_INBOX_admin.x",
    ],
)
async def test_an_instance_does_not_reach_the_platform(
    server: EmbeddedServer, identities: Identities, subject: str
) -> None:
    async with raw_client(server.url, identities.mint_instance(BLUE)) as instance:
        assert not await instance.may_publish(subject)


@pytest.mark.parametrize(
    "subject",
    [
        ">",
        "inst.>",
        "inst.ep.blue.*",
        "_INBOX_ingress.>",
        "_INBOX_control.>",
        "sysev.>",
        "$KV.state.>",
        "$SYS.>",
        "score.*",
        "heartbeat.>",
        "heartbeat.ep.blue.i1",
    ],
)
async def test_an_instance_does_not_listen_to_the_platform(
    server: EmbeddedServer, identities: Identities, subject: str
) -> None:
    async with raw_client(server.url, identities.mint_instance(BLUE)) as instance:
        assert not await instance.may_subscribe(subject)


async def test_an_instance_answers_one_request_many_times(
    server: EmbeddedServer, identities: Identities
) -> None:
    ingress_file = identities.mint_role(Role.INGRESS).read_text()
    async with (
        raw_client(server.url, ingress_file) as ingress,
        raw_client(server.url, identities.mint_instance(BLUE)) as instance,
    ):
        requests = await instance.subscribe(subjects.instance(BLUE))
        await instance.rtt()
        inbox = ingress.new_inbox()
        answers = await ingress.subscribe(inbox)
        await ingress.publish(subjects.instance(BLUE), b"x", reply=inbox)
        request = await requests.next_msg(timeout=BOUND_S)
        for number in range(50):
            await instance.publish(request.reply, str(number).encode())

        got = [(await answers.next_msg(timeout=BOUND_S)).data for _ in range(50)]

    assert got == [str(number).encode() for number in range(50)]
    assert instance.violations == []


@pytest.mark.parametrize("role", [Role.INGRESS, Role.ROUTER])
async def test_an_edge_calls_instances_and_hears_of_them(
    server: EmbeddedServer, identities: Identities, role: Role
) -> None:
    async with raw_client(server.url, identities.mint_role(role).read_text()) as edge:
        for subject in (
            subjects.instance(BLUE),
            subjects.instance_control(BLUE),
            subjects.wake("ep", "blue"),
            subjects.ingress_heartbeat("a"),
        ):
            assert await edge.may_publish(subject), subject
        for subject in (
            subjects.all_heartbeats(),
            subjects.all_ingress_heartbeats(),
            subjects.all_changed(),
            subjects.SYSTEM_EVENTS,
            f"_INBOX_{role}.abc.>",
        ):
            assert await edge.may_subscribe(subject), subject


@pytest.mark.parametrize("role", [Role.INGRESS, Role.ROUTER])
async def test_an_edge_writes_no_state_and_reads_no_secret(
    server: EmbeddedServer, identities: Identities, role: Role
) -> None:
    async with raw_client(server.url, identities.mint_role(role).read_text()) as edge:
        for subject in (
            "$KV.state.x",
            "$KV.spec.x",
            "$KV.secrets.x",
            "$JS.API.STREAM.MSG.GET.KV_secrets",
            "$JS.API.STREAM.MSG.GET.KV_spec",
            "$JS.API.CONSUMER.CREATE.KV_secrets.c.$KV.secrets.>",
            "$JS.API.STREAM.DELETE.KV_state",
            "$JS.API.STREAM.PURGE.KV_state",
            "changed.ep",
            subjects.heartbeat(BLUE),
        ):
            assert not await edge.may_publish(subject), subject
        for subject in (subjects.instance(BLUE), "_INBOX_control.>", "_INBOX_i1.>", "$KV.state.>"):
            assert not await edge.may_subscribe(subject), subject


async def test_only_the_router_takes_native_calls_and_only_in_its_queue(
    server: EmbeddedServer, identities: Identities
) -> None:
    async with raw_client(server.url, identities.mint_role(Role.ROUTER).read_text()) as router:
        assert await router.may_subscribe(subjects.all_scores(), subjects.ROUTER_QUEUE)
        assert not await router.may_subscribe(subjects.all_scores())
    async with raw_client(server.url, identities.mint_role(Role.INGRESS).read_text()) as ingress:
        assert not await ingress.may_subscribe(subjects.all_scores(), subjects.ROUTER_QUEUE)


async def test_the_supervisor_may_ask_and_nothing_else(
    server: EmbeddedServer, identities: Identities
) -> None:
    async with raw_client(server.url, identities.mint_role(Role.ADMIN).read_text()) as admin:
        info = await admin.request("$JS.API.INFO", timeout=BOUND_S)
        assert "error" not in json.loads(info.data)
        for subject in ("$JS.API.STREAM.LIST", "$KV.state.x", subjects.instance(BLUE), "changed.x"):
            assert not await admin.may_publish(subject), subject


async def test_an_edge_sees_the_death_of_an_instance(
    server: EmbeddedServer, identities: Identities
) -> None:
    async with raw_client(server.url, identities.mint_role("ingress").read_text()) as edge:
        events = await edge.subscribe(subjects.SYSTEM_EVENTS)
        await edge.rtt()
        async with raw_client(server.url, identities.mint_instance(BLUE)):
            pass
        async with asyncio.timeout(BOUND_S):
            while True:
                event = await events.next_msg(timeout=BOUND_S)
                if event.subject == "sysev.DISCONNECT":
                    break

    assert json.loads(event.data)["reason"] == "Client Closed"


async def test_users_of_another_installation_are_refused(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    stranger = Identities(Home(tmp_path / "other"))
    for text in (stranger.mint_instance(BLUE), stranger.role_credentials("control")):
        assert not await accepts(server.port, Credentials.parse(text))


async def test_a_user_cannot_listen_in_for_answers_of_a_request_it_did_not_send(
    server: EmbeddedServer, identities: Identities
) -> None:
    async with (
        raw_client(server.url, identities.mint_role("ingress").read_text()) as ingress,
        raw_client(server.url, identities.mint_instance(BLUE)) as instance,
    ):
        inbox = ingress.new_inbox()
        assert not await instance.may_subscribe(inbox)
        with pytest.raises(NatsTimeout):
            await instance.request(subjects.instance(GREEN), b"x", timeout=0.2)


def test_keys_are_made_once_and_are_private(tmp_path: Path) -> None:
    home = Home(tmp_path)
    first, second = Identities(home), Identities(home)

    assert first.account.public == second.account.public
    assert list(first.account_jwts()) == list(second.account_jwts())
    path = first.mint_role("control")
    files = [path, *(home.nats / "keys").iterdir()]
    assert len(files) == 5
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE(home.nats.stat().st_mode) == 0o700


def _account_of(root: str) -> str:
    return Identities(Home(Path(root))).account.public


def test_processes_that_start_at_once_agree_on_the_keys(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        accounts = pool.map(_account_of, [str(tmp_path)] * 8, chunksize=1)

    assert len(set(accounts)) == 1
    assert len(list((tmp_path / "nats" / "keys").iterdir())) == 4


@pytest.mark.parametrize("kind", list(KeyKind))
def test_a_seed_gives_back_its_key(kind: KeyKind) -> None:
    key = KeyPair.create(kind)

    again = KeyPair.from_seed(key.seed)

    assert (again.public, again.kind) == (key.public, kind)


def test_a_damaged_seed_is_refused_without_being_repeated() -> None:
    seed = KeyPair.create(KeyKind.USER).seed
    # Not the last letter: two of its bits say nothing.
    damaged = seed[:30] + ("A" if seed[30] != "A" else "B") + seed[31:]

    for text in (damaged, "", "SU", seed[:20], "ü" * 58):
        with pytest.raises(InvalidInput) as refused:
            KeyPair.from_seed(text)
        assert not text or text not in str(refused.value)


def test_an_instance_is_named_in_its_credentials(tmp_path: Path) -> None:
    text = Identities(Home(tmp_path)).mint_instance(BLUE)

    assert Credentials.parse(text).name == "i1"
    assert Credentials.parse(text).inbox_prefix == "_INBOX_i1"
