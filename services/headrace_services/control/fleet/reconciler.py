"""The reconciler: one lease, one loop, level-triggered.

Each round looks at everything, decides by pure functions and writes through the lease, so it does
not matter which event woke it, nor whether one was lost. What runs is what compute lists.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

import structlog

from headrace_bus.client.connection import Bus
from headrace_bus.errors import BusError, LeaseLost, RevisionConflict
from headrace_bus.store.lease import Lease
from headrace_bus.wire.subjects import InstanceAddress
from headrace_scaler.compute.computes import Computes
from headrace_services.control.fleet.deployment_progress import DeploymentProgress
from headrace_services.control.fleet.deployment_reconciler import DeploymentReconciler
from headrace_services.control.fleet.endpoint_reconciler import EndpointReconciler
from headrace_services.control.fleet.instance_steps import InstanceSteps
from headrace_services.control.fleet.metrics import FleetMetrics
from headrace_services.control.fleet.snapshot import Snapshot, look
from headrace_services.control.fleet.stores import Caches, FleetStores
from headrace_services.control.identity.access import Access
from headrace_state.deployment_name import DeploymentName
from headrace_state.fleet_view import FleetView
from headrace_state.launch_builder import LaunchBuilder
from headrace_state.records import Spec
from headrace_state.status_writer import StatusWriter
from headrace_telemetry.tasks import Tasks

log = structlog.get_logger(__name__)

LEASE: Final = "reconcile"
RESYNC_S: Final = 3.0
SETTLE_S: Final = 0.005  # events that come together are one round
RETRY_S: Final = 0.5


class Reconciler:
    """Makes what runs like what is wanted. Any number may run; one works."""

    def __init__(
        self,
        *,
        bus: Bus,
        stores: FleetStores,
        view: FleetView,
        computes: Computes,
        nats_url: str,
        token_public_key: str,
        mint: Callable[[InstanceAddress], str],
        metrics: FleetMetrics | None = None,
        access: Access | None = None,
    ) -> None:
        """Whoever made `view` lets it listen; whoever made `computes` closes them.

        `mint` gives the text of an instance's credentials (`Identities.mint_instance`),
        `access` what every aad_token route carries: audiences and the admin's digest.
        """
        self._bus = bus
        self._stores = stores
        self._lease = Lease(stores.state, LEASE)
        self._caches = Caches.of(stores)
        self._caches.specs.on_change(self.wake)
        self._woken = asyncio.Event()
        self._tasks = Tasks("reconcile")
        self._metrics = metrics
        self._access = access
        self._unreadable: dict[str, str] = {}
        self._since_revision = 0
        self._view = view
        view.on_change(self.wake)
        self._computes = computes
        computes.on_exit(self.wake)
        self._status_writer = StatusWriter(
            stores.state, self._lease, metrics.ended if metrics else None
        )
        self._endpoints = EndpointReconciler(
            bus=bus,
            specs=stores.specs,
            routes=self._caches.state,
            secrets=self._caches.secrets,
            status_writer=self._status_writer,
            keys=stores.keys,
            view=view,
            token_public_key=token_public_key,
        )
        self.builder = LaunchBuilder(find=self._find, blobs=stores.blobs, nats_url=nats_url)
        self._deployments = self._deployment_reconciler(mint)

    async def start(self) -> None:
        """Begin to work."""
        self._bus.on_reconnect(self.wake)
        for cache in self._caches.all():
            self._tasks.forever(cache.follow(), f"follow {cache.bucket.name}")
        self._tasks.forever(self._work(), "work")

    async def stop(self) -> None:
        """Stop deciding; instances go on."""
        await self._tasks.stop()

    def wake(self) -> None:
        """Look at the specs now instead of at the next round. Never blocks."""
        self._woken.set()

    def _deployment_reconciler(
        self, mint: Callable[[InstanceAddress], str]
    ) -> DeploymentReconciler:
        return DeploymentReconciler(
            specs=self._stores.specs,
            status_writer=self._status_writer,
            computes=self._computes,
            instances=InstanceSteps(
                status_writer=self._status_writer,
                computes=self._computes,
                view=self._view,
                builder=self.builder,
                mint=mint,
            ),
            progress=DeploymentProgress(
                status_writer=self._status_writer, computes=self._computes, view=self._view
            ),
        )

    async def _find(self, key: str) -> Spec | None:
        record = await self._stores.specs.get(key)
        return None if record is None else Spec.decode(record.value, key)

    async def _work(self) -> None:
        while True:
            lost = asyncio.Event()
            async with self._lease.hold(self._give_up(lost)):
                log.info("reconciling")
                self._caches.relist()
                self._since_revision = self._lease.revision
                while not lost.is_set() and self._lease.held:
                    await self._turn()

    def _give_up(self, lost: asyncio.Event) -> Callable[[], None]:
        def give_up() -> None:
            lost.set()
            self.wake()

        return give_up

    async def _turn(self) -> None:
        """One round, and the pause until the next."""
        self._woken.clear()
        pause_s = RETRY_S
        try:
            pause_s = await self._round()
        except LeaseLost:
            log.warning("another control process holds the lease now")
        except BusError as error:
            log.warning("a reconcile round was interrupted", reason=error.message)
        except Exception:  # one bad record must not end reconciliation for all
            log.exception("a reconcile round failed")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._woken.wait()
        await asyncio.sleep(SETTLE_S)

    async def _round(self) -> float:
        """Look, and take a step for each endpoint and deployment. Returns the longest pause."""
        # What the holder before us wrote is older than our lease, which is in the same stream.
        await self._caches.current(self._since_revision)
        snapshot = await look(self._caches.specs, self._caches.state, self._computes, self._access)
        self._tell_unreadable(snapshot)
        waits = [RESYNC_S]
        for endpoint in sorted(snapshot.endpoints.keys() - snapshot.set_aside):
            wait_s = await self._guarded(self._endpoint(snapshot, endpoint), endpoint=endpoint)
            waits += [wait_s] if wait_s is not None else []
        for name in self._ownerless(snapshot):
            await self._guarded(self._deployment(snapshot, name, 0), **name._asdict())
        await self._stop_unwanted(snapshot)
        self._view.keep(snapshot.own)
        if self._metrics is not None:
            self._metrics.wanted(snapshot.wanted())
        live = {one.value.operation for one in snapshot.endpoints.values()}
        self._status_writer.forget(
            live | {one.value.operation for one in snapshot.deployments.values()}
        )
        return min(waits)

    async def _endpoint(self, snapshot: Snapshot, endpoint: str) -> float | None:
        revision = await self._endpoints.route(snapshot, endpoint)
        waits = []
        for name in sorted(snapshot.deployments_of(endpoint)):
            wait_s = await self._guarded(
                self._deployment(snapshot, name, revision), **name._asdict()
            )
            waits += [wait_s] if wait_s is not None else []
        await self._endpoints.step(snapshot, endpoint, revision)
        return min(waits, default=None)

    async def _deployment(
        self, snapshot: Snapshot, name: DeploymentName, revision: int
    ) -> float | None:
        if name in snapshot.deployments:
            return await self._deployments.step(snapshot, name, revision)
        await self._deployments.drop(snapshot, name)
        return None

    @staticmethod
    def _ownerless(snapshot: Snapshot) -> list[DeploymentName]:
        """Deployments without an endpoint, and instances without a deployment."""
        named = set(snapshot.deployments) | {
            name for name, some in snapshot.instances.items() if some
        }
        return sorted(
            name
            for name in named
            if (name.endpoint not in snapshot.endpoints or name not in snapshot.deployments)
            and name.endpoint not in snapshot.set_aside
        )

    def _tell_unreadable(self, snapshot: Snapshot) -> None:
        """Once for each record; a round is every few seconds."""
        for key, why in snapshot.unreadable.items():
            if self._unreadable.get(key) != why:
                log.error(
                    "a record cannot be read; its resource is left as it is", key=key, reason=why
                )
        self._unreadable = snapshot.unreadable

    async def _stop_unwanted(self, snapshot: Snapshot) -> None:
        """What no record wants: left by a crash between two writes, or by a restored state."""
        for iid in snapshot.unwanted():
            alive = snapshot.running[iid].alive
            if alive:
                log.warning("stopping an instance that no record wants", iid=iid)
            end = self._computes.stop if alive else self._computes.forget
            await end(snapshot.listing.compute_of[iid], iid)

    async def _guarded(self, step: object, **names: str) -> float | None:
        """A step whose failure is its own, unless the lease or the bus is gone."""
        try:
            return await step  # type: ignore[misc,no-any-return]  # any of the steps above
        except (LeaseLost, ConnectionError):
            raise
        except RevisionConflict:
            self.wake()  # the API changed it meanwhile: look again
        except Exception:  # one bad record must not hold up the others
            log.exception("a step failed", **names)
        return None
