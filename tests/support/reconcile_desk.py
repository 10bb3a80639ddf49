"""A reconciler on a real server, with real scorers; specs are written as the API writes them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from headrace_api.home import Home
from headrace_bus.client.connection import Bus
from headrace_bus.routing.edge.gateway import Gateway
from headrace_bus.store.blob_index import BlobEntry, BlobIndex
from headrace_bus.store.blobs import FolderBlobs
from headrace_bus.store.bucket import Bucket
from headrace_bus.store.secrets import SecretStore, secret_key
from headrace_scaler.compute import processes
from headrace_scaler.compute.computes import Computes
from headrace_scaler.compute.port import Running
from headrace_scaler.compute.process import ProcessCompute
from headrace_services.control.fleet.reconciler import Reconciler
from headrace_services.control.fleet.stores import FleetStores
from headrace_state.endpoint_keys import EndpointKeys
from headrace_state.fleet_view import FleetView
from headrace_state.records import (
    Operation,
    Spec,
    Status,
    asset_key,
    deployment_key,
    deployment_status_key,
    endpoint_key,
    operation_key,
)
from support.edge import start_edge
from support.platform_nats import PlatformNats, platform_nats

SCORE = """
import os
def init():
    {init}
def run(data):
    return os.environ.get("VERSION", "1")
"""
ID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
BOUND_S = 30.0


@dataclass
class Desk:
    """What the API would write, and what a user would see."""

    nats: PlatformNats
    bus: Bus
    specs: Bucket
    state: Bucket
    stores: FleetStores
    blobs: FolderBlobs
    edge: Gateway
    stack: AsyncExitStack

    @property
    def home(self) -> Home:
        return self.nats.home

    async def reconciler(self, computes: Computes | None = None) -> Reconciler:
        """One more of them, of this home unless `computes` are given; both end with the test."""
        if computes is None:
            computes = Computes.of_home(self.home)
        self.stack.push_async_callback(computes.close)
        bus, view = await self.nats.bus(), FleetView()
        await view.listen(bus)
        made = Reconciler(
            bus=bus,
            stores=await open_stores(bus, self.home),
            view=view,
            computes=computes,
            nats_url=self.nats.server.url,
            token_public_key="",
            mint=self.nats.identities.mint_instance,
        )
        await made.start()
        self.stack.push_async_callback(made.stop)
        return made

    async def code(self, name: str, *, init: str = "pass") -> None:
        """Register a folder with one script."""

        async def chunks() -> AsyncIterator[bytes]:
            yield SCORE.format(init=init).encode()

        stored = await self.blobs.put(chunks())
        entry = BlobEntry(digest=stored.digest, size_bytes=stored.size_bytes)
        await self.stores.blobs.put(name, "src/score.py", entry)
        arm = {"properties": {"codeUri": f"https://x/blob/w/{name}/src"}, "version": "1"}
        await self.put(self.specs, asset_key("codes", name, "1"), Spec(name=name, arm=arm))

    async def endpoint(self, *deployments: str, name: str = "iris", **more: Any) -> str:
        """Write an endpoint as it should be; returns the operation's id."""
        operation = await self._operation("update")
        arm = {"location": "local", "tags": {}, "properties": {"authMode": "Key"}}
        spec = Spec(name=name, arm=arm, operation=operation, deployments=tuple(deployments), **more)
        await self.put(self.specs, endpoint_key(name), spec)
        return operation

    async def deployment(
        self, code: str = "good", *, count: int = 1, name: str = "blue", **more: Any
    ) -> str:
        """Write a deployment as it should be; returns the operation's id."""
        operation = await self._operation("create")
        properties = {
            "endpointComputeType": "Managed",
            "instanceType": "Standard_F2s_v2",
            "codeConfiguration": {"codeId": f"{ID}/codes/{code}/versions/1"},
            "environmentVariables": more.pop("variables", {}),
            "readinessProbe": {"initialDelay": "PT1S", "failureThreshold": 1, "period": "PT5S"},
        }
        properties["codeConfiguration"]["scoringScript"] = "score.py"
        arm = {"location": "local", "sku": {"capacity": count}, "properties": properties}
        spec = Spec(name=name, arm=arm, operation=operation, **more)
        await self.put(self.specs, deployment_key("iris", name), spec)
        return operation

    async def delete(self, key: str) -> str:
        record = await self.specs.get(key)
        assert record is not None
        operation = await self._operation("delete")
        spec = replace(Spec.decode(record.value), deleting=True, operation=operation)
        await self.specs.update(key, spec.encode(), record.revision)
        return operation

    async def ended(self, operation: str) -> Operation:
        """Wait for the end of an operation."""
        found: Operation | None = None

        async def over() -> bool:
            nonlocal found
            record = await self.state.get(operation_key(operation))
            found = Operation.decode(record.value) if record else None
            return found is not None and found.status != "InProgress"

        await until(over)
        assert found is not None
        return found

    async def status(self, name: str = "blue") -> Status | None:
        record = await self.state.get(deployment_status_key("iris", name))
        return Status.decode(record.value) if record else None

    async def running(self) -> list[Running]:
        """Live instances, seen by an eye of its own."""
        eye = ProcessCompute(self.home)
        return [one for one in await eye.list() if one.alive]

    async def put(self, bucket: Bucket, key: str, value: Spec) -> None:
        record = await bucket.get(key)
        if record is None:
            await bucket.create(key, value.encode())
        else:
            await bucket.update(key, value.encode(), record.revision)

    async def _operation(self, verb: str) -> str:
        made = Operation(id=secrets.token_hex(8), resource="r", verb=verb)
        await self.state.create(operation_key(made.id), made.encode())
        return made.id


async def until(condition: Callable[[], Any], bound_s: float = BOUND_S) -> None:
    async with asyncio.timeout(bound_s):
        while not await condition():  # noqa: ASYNC110  # other processes raise no event here
            await asyncio.sleep(0.02)


async def open_stores(bus: Bus, home: Home) -> FleetStores:
    """The stores as one process has them."""
    specs, state, hidden, names = [
        await Bucket.open(bus, name) for name in ("spec", "state", "secrets", "blobs")
    ]
    keys = EndpointKeys(SecretStore(hidden, secret_key(home.root / "secret.key")))
    return FleetStores(specs=specs, state=state, keys=keys, blobs=BlobIndex(names))


@asynccontextmanager
async def open_desk() -> AsyncIterator[Desk]:
    async with platform_nats() as nats, AsyncExitStack() as stack:
        bus = await nats.bus()
        stores = await open_stores(bus, nats.home)
        edge = await start_edge(await nats.bus("ingress"))
        stack.push_async_callback(edge.stop)
        yield Desk(
            nats=nats,
            bus=bus,
            specs=stores.specs,
            state=stores.state,
            stores=stores,
            blobs=FolderBlobs(nats.home.blobs),
            edge=edge,
            stack=stack,
        )
        await stack.aclose()
        for one in processes.find("headrace_scorer", "--home", str(nats.home.root)):
            processes.kill_session(one, nats.home.root)
        left = processes.find("headrace_scorer", "--home", str(nats.home.root))
        assert not await asyncio.to_thread(processes.wait_gone, left, 5.0)
