"""What killed writes leave behind goes once nobody can complete it any more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from headrace_bus.client.connection import Bus
from headrace_bus.client.settings import BusSettings
from headrace_bus.store.bucket import Bucket
from headrace_bus.store.secrets import SecretStore, secret_key
from headrace_services.control.arm.ids import ArmIds
from headrace_services.control.gc.sweeper import drop_staged_keys
from headrace_services.control.resources.operations import ABANDONED, Operations
from headrace_state.endpoint_keys import EndpointKeys, new_pair
from headrace_state.records import Operation, Spec, endpoint_key
from headrace_state.repository import Repository
from headrace_telemetry.clock import timestamp
from support.nats_server import NatsServer


@asynccontextmanager
async def opened(
    nats_server: NatsServer, folder: Path
) -> AsyncIterator[tuple[Bucket, Bucket, SecretStore]]:
    """The buckets of specs and states, and the secrets."""
    async with await Bus.connect(BusSettings(url=nats_server.url, name="sweep")) as bus:
        specs, states, secrets = [await Bucket.open(bus, n) for n in ("spec", "state", "secrets")]
        yield specs, states, SecretStore(secrets, secret_key(folder / "secret.key"))


async def test_keys_of_a_killed_create_go_and_those_in_force_or_on_their_way_stay(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    """A create stages its keys after its operation and before its spec, and may die at either."""
    now = datetime.now(UTC)
    async with opened(nats_server, tmp_path) as (specs, states, store):
        keys, repository = EndpointKeys(store), Repository(specs, Spec)
        ids = ArmIds(control_url="https://localhost", ingress_url="https://localhost")
        operations = Operations(Repository(states, Operation), ids, now=lambda: now)

        killed = await operations.open("killed", "create")
        await keys.stage("killed", killed.id, new_pair())
        stored = await operations.open("stored", "create")
        await keys.stage("stored", stored.id, new_pair())
        spec = Spec(
            name="stored",
            arm={"properties": {}},
            created_at=timestamp(),
            modified_at=timestamp(),
            operation=stored.id,
        )
        await repository.create(endpoint_key("stored"), spec)
        in_force = await keys.read_or_create("old")

        assert await drop_staged_keys(operations, keys, repository) == 0
        now += ABANDONED + timedelta(hours=1)
        assert await operations.expire() == 2
        assert await drop_staged_keys(operations, keys, repository) == 1

        assert await store.below("keys.killed") == []
        assert await keys.read("old") == in_force
        await keys.adopt("stored", stored.id)
        assert await keys.read("stored") is not None


async def test_a_sweep_stands_what_cannot_be_read_and_keeps_the_keys_it_may_be_about(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    now = datetime.now(UTC)
    async with opened(nats_server, tmp_path) as (specs, states, store):
        keys = EndpointKeys(store)
        ids = ArmIds(control_url="https://localhost", ingress_url="https://localhost")
        operations = Operations(Repository(states, Operation), ids, now=lambda: now)
        for name in ("broken", "gone"):
            await keys.stage(name, (await operations.open(name, "create")).id, new_pair())
        await specs.create(endpoint_key("broken"), b"[]")
        await states.create("operation.a", b'{"seq": 1}')
        await states.create(
            "operation.b", b'{"id": "b", "resource": "r", "verb": "v", "started_at": "noon"}'
        )

        now += ABANDONED + timedelta(hours=1)
        assert await operations.expire() == 2
        assert await drop_staged_keys(operations, keys, Repository(specs, Spec)) == 1
        assert len(await store.below("keys.broken")) == 1
        assert await store.below("keys.gone") == []
