"""What nats-py gets wrong and Bus gets right; the stock class must fail each of these tests."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace_bus.client.connection import Bus, Message
from headrace_bus.client.credentials import Credentials
from headrace_bus.client.nkeys import KeyKind, KeyPair
from headrace_bus.client.settings import BusSettings
from headrace_bus.errors import BusDisconnected, PayloadTooLarge
from support.nats_server import NatsServer
from support.stock_bus import StockBus
from support.tcp_proxy import TcpProxy

BOUND_S = 30.0  # ends failed tests only
STOCK_BOUND_S = 3.0
SHORT_S = 4.0  # of credentials: a slow machine connects while they are good

AnyBus = type[Bus] | type[StockBus]

both = pytest.mark.parametrize(
    "bus_class",
    [
        pytest.param(Bus, id="bus"),
        pytest.param(
            StockBus, id="stock", marks=pytest.mark.xfail(strict=True, reason="nats-py 2.16")
        ),
    ],
)


@pytest.fixture(autouse=True)
def _no_garbage_of_the_stock_client() -> Iterator[None]:
    """Its dead tasks log when collected; CPython 3.11 fails if that is inside a parse."""
    yield
    gc.collect()


async def until(condition: Callable[[], bool], bus_class: AnyBus = Bus) -> None:
    """The stock client is given less: it never gets there, and each wait is waited out."""
    async with asyncio.timeout(BOUND_S if bus_class is Bus else STOCK_BOUND_S):
        while not condition():  # noqa: ASYNC110  # what is awaited has no event
            await asyncio.sleep(0.01)


@both
async def test_flush_is_a_barrier_for_what_was_published_before(
    bus_class: AnyBus, nats_server: NatsServer
) -> None:
    async with TcpProxy(nats_server.port) as proxy:
        bus = await bus_class.connect(BusSettings(url=proxy.url, name="t"))
        try:
            await bus.flush()
            proxy.sent.clear()
            bus.publish("a.b", b"hello")
            await bus.flush()

            sent = bytes(proxy.sent)
            assert b"hello" in sent
            assert sent.index(b"hello") < sent.index(b"PING")
        finally:
            await bus.close()


@both
async def test_a_drained_subscription_loses_no_request(
    bus_class: AnyBus, nats_server: NatsServer
) -> None:
    """Two members share a queue; one drains while its UNSUB is slow on the wire."""
    async with TcpProxy(nats_server.port) as proxy:
        caller = await Bus.connect(BusSettings(url=nats_server.url, name="caller"))
        stays = await Bus.connect(BusSettings(url=nats_server.url, name="stays"))
        leaves = await bus_class.connect(BusSettings(url=proxy.url, name="leaves"))
        try:
            await stays.subscribe("work", lambda m: stays.publish(m.reply, b"ok"), "q")
            leaving = await leaves.subscribe("work", lambda m: leaves.publish(m.reply, b"ok"), "q")
            await asyncio.gather(stays.flush(), leaves.flush())
            proxy.hold_from(b"UNSUB")
            drained = asyncio.create_task(leaving.drain())
            await proxy.held.wait()
            # Stock hears its PONG now, and forgets a subscription the server still knows.
            await asyncio.wait([drained], timeout=0.2 if bus_class is Bus else BOUND_S)
            bound_s = BOUND_S if bus_class is Bus else STOCK_BOUND_S
            answers = [caller.request("work", b"x", bound_s) for _ in range(40)]
            await caller.flush()
            proxy.release()
            await asyncio.gather(drained, *answers)
        finally:
            await asyncio.gather(caller.close(), stays.close(), leaves.close())


@both
async def test_an_error_of_the_server_does_not_close_for_ever(
    bus_class: AnyBus, nats_server: NatsServer
) -> None:
    """The server lowers its limit, and drops the connection for a message it took before."""
    bus = await bus_class.connect(BusSettings(url=nats_server.url, name="t"))
    lost = asyncio.Event()
    bus.on_disconnect(lost.set)
    try:
        nats_server.extra = "max_payload: 1000"
        nats_server.reload()
        await until(lambda: "Reloaded server configuration" in nats_server.log)
        while not lost.is_set():
            bus.publish("a", bytes(100_000))
            await asyncio.wait([asyncio.ensure_future(lost.wait())], timeout=0.05)
            if bus.max_payload < 100_000:
                break
        await until(lambda: bus.connected and bus.max_payload == 1000, bus_class)
        await bus.flush()
    finally:
        await bus.close()


@both
async def test_headers_count_to_the_size_of_a_message(
    bus_class: AnyBus, nats_server: NatsServer
) -> None:
    bus = await bus_class.connect(BusSettings(url=nats_server.url, name="t"))
    try:
        with pytest.raises(PayloadTooLarge):
            bus.publish("a", bytes(bus.max_payload - 10), headers={"A": "b" * 100})
        await bus.flush()
        assert bus.connected
    finally:
        await bus.close()


@both
async def test_a_callback_that_raises_does_not_end_the_reconnect(
    bus_class: AnyBus, nats_server: NatsServer
) -> None:
    lost = asyncio.Event()

    def fail() -> None:
        lost.set()
        raise RuntimeError("a mistake of the caller")

    bus = await bus_class.connect(BusSettings(url=nats_server.url, name="t"))
    bus.on_disconnect(fail)
    try:
        nats_server.restart()
        await lost.wait()
        await until(lambda: bus.connected, bus_class)
        await bus.flush()
    finally:
        await bus.close()


@both
async def test_a_pong_after_its_flush_gave_up_does_not_end_the_read_loop(
    bus_class: AnyBus, nats_server: NatsServer
) -> None:
    bus = await bus_class.connect(BusSettings(url=nats_server.url, name="t"))
    got: list[Message] = []
    try:
        await bus.subscribe("a", got.append)
        await bus.flush()
        nats_server.pause()
        with pytest.raises(Exception, match=r"(?i)answered|flush timeout"):
            await bus.flush(0.1)
        nats_server.resume()
        bus.publish("a", b"after")
        await until(lambda: len(got) == 1, bus_class)
    finally:
        nats_server.resume()
        await bus.close()


class Operator:
    """The least operator mode that lets a user expire."""

    def __init__(self) -> None:
        self.operator = KeyPair.create(KeyKind.OPERATOR)
        self.account = KeyPair.create(KeyKind.ACCOUNT)
        self.system = KeyPair.create(KeyKind.ACCOUNT)

    def config(self) -> str:
        claims = {"type": "operator", "version": 2, "system_account": self.system.public}
        operator = self._sign(self.operator, self.operator.public, claims)
        return (
            f"operator: {operator}\nsystem_account: {self.system.public}\nresolver: MEMORY\n"
            f"resolver_preload: {{\n{self._account(self.account)}\n{self._account(self.system)}\n}}"
        )

    def user(self, path: Path, lifetime_s: float) -> None:
        """Write credentials whose JWT expires."""
        user = KeyPair.create(KeyKind.USER)
        claims = {"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1}
        jwt = self._sign(self.account, user.public, claims, exp=int(time.time() + lifetime_s))
        path.write_text(Credentials(jwt=jwt, key=user).text())

    def _account(self, account: KeyPair) -> str:
        limits = {"subs": -1, "data": -1, "payload": -1, "conn": -1, "leaf": -1, "wildcards": True}
        limits |= {"imports": -1, "exports": -1}
        claims = {"type": "account", "version": 2, "limits": limits}
        return f"{account.public}: {self._sign(self.operator, account.public, claims)}"

    @staticmethod
    def _sign(key: KeyPair, subject: str, nats: dict[str, Any], **more: Any) -> str:
        claims = {"iss": key.public, "sub": subject, "name": "worker-1", "nats": nats, **more}
        claims |= {"iat": int(time.time()), "jti": "x"}
        head, body = ({"typ": "JWT", "alg": "ed25519-nkey"}, claims)
        signed = f"{_b64(json.dumps(head).encode())}.{_b64(json.dumps(body).encode())}"
        return f"{signed}.{_b64(key.sign(signed.encode()))}"


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@both
async def test_expired_credentials_are_read_again_and_the_bus_lives_on(
    bus_class: AnyBus, tmp_path: Path
) -> None:
    operator, path = Operator(), tmp_path / "user.creds"
    with NatsServer(tmp_path / "server", extra=operator.config()) as server:
        operator.user(path, lifetime_s=SHORT_S)
        lost = asyncio.Event()
        bus = await bus_class.connect(BusSettings(url=server.url, name="t", credentials=path))
        bus.on_disconnect(lost.set)
        try:
            operator.user(path, lifetime_s=60)
            await asyncio.wait_for(lost.wait(), BOUND_S)
            await until(lambda: bus.connected, bus_class)
            await bus.flush()
        finally:
            await bus.close()


async def test_the_inbox_prefix_is_the_users_own(tmp_path: Path) -> None:
    """Identities let `worker-1` listen on `_INBOX_worker-1.>` only."""
    operator, path = Operator(), tmp_path / "user.creds"
    with NatsServer(tmp_path / "server", extra=operator.config()) as server:
        operator.user(path, lifetime_s=60)
        async with await Bus.connect(
            BusSettings(url=server.url, name="t", credentials=path)
        ) as bus:
            assert bus.open_inbox(lambda _: None).subject.startswith("_INBOX_worker-1.")
            await bus.subscribe("a", lambda m: bus.publish(m.reply, m.data))
            assert (await bus.request("a", b"x", BOUND_S)).data == b"x"


async def test_credentials_refused_for_long_close_the_bus_and_say_so(tmp_path: Path) -> None:
    operator, path = Operator(), tmp_path / "user.creds"
    with NatsServer(tmp_path / "server", extra=operator.config()) as server:
        operator.user(path, lifetime_s=SHORT_S)
        settings = BusSettings(
            url=server.url, name="t", credentials=path, reconnect_wait_s=0.05, refused_grace_s=0.2
        )
        bus = await Bus.connect(settings)
        closed = asyncio.Event()
        bus.on_closed(closed.set)
        await asyncio.wait_for(closed.wait(), BOUND_S)

        with pytest.raises(BusDisconnected):
            bus.publish("a", b"")
        with pytest.raises(BusDisconnected):
            await bus.flush(1.0)
