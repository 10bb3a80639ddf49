"""The parts of the control process, made and given to one another."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from headrace_api.home import Home
from headrace_api.machine import cpu_count, gpu_count
from headrace_api.settings.capacity import Host
from headrace_bus.client.connection import Bus
from headrace_bus.client.identity import Identities
from headrace_bus.wire.subjects import InstanceAddress
from headrace_scaler.compute.computes import Computes
from headrace_services.control.api import asset_handlers
from headrace_services.control.api.application import Handlers
from headrace_services.control.api.diagnosis import Diagnosis
from headrace_services.control.api.directory import Directory
from headrace_services.control.arm.ids import ArmIds
from headrace_services.control.assets.references import AssetReferences
from headrace_services.control.blobs.http import DIGESTS
from headrace_services.control.blobs.sas import SasSigner
from headrace_services.control.blobs.wire import BlobWire
from headrace_services.control.fleet.metrics import FleetMetrics
from headrace_services.control.fleet.reconciler import Reconciler
from headrace_services.control.fleet.stores import FleetStores
from headrace_services.control.gc.collector import Collector
from headrace_services.control.identity.access import Access, scoring_audiences
from headrace_services.control.identity.auth import Authenticator, ensure_admin_token, token_digest
from headrace_services.control.identity.clients import Clients
from headrace_services.control.identity.issuer import Issuer
from headrace_services.control.identity.issuer_fetch import IssuerFetch
from headrace_services.control.identity.issuers import Issuers
from headrace_services.control.identity.oidc import OpenIdProvider
from headrace_services.control.online.attach import FETCH_BOUND, Attachments
from headrace_services.control.online.deployments import Deployments
from headrace_services.control.online.endpoints import Endpoints
from headrace_services.control.resources.operations import Operations
from headrace_services.control.resources.writes import ResourceWrites
from headrace_services.control.settings import ROLE, Settings
from headrace_services.control.stores import Stores
from headrace_services.control.trail.event_log import EventLog
from headrace_services.control.trail.request_accounting import Conservation
from headrace_state.fleet_view import FleetView
from headrace_state.records import (
    Client,
    IssuerKeys,
    Operation,
    OuterIssuer,
    Spec,
    Status,
)
from headrace_state.repository import Repository


def build_reconciler(
    settings: Settings,
    bus: Bus,
    computes: Computes,
    stores: Stores,
    view: FleetView,
    issuer: Issuer,
    metrics: FleetMetrics,
) -> Reconciler:
    """The reconciler, not yet started."""
    return Reconciler(
        bus=bus,
        stores=FleetStores(
            specs=stores.specs, state=stores.states, keys=stores.keys, blobs=stores.index
        ),
        view=view,
        computes=computes,
        nats_url=settings.nats_url,
        token_public_key=issuer.public_key,
        mint=_mint(settings),
        metrics=metrics,
        access=Access(
            audiences=scoring_audiences(settings.control_url),
            admin_digests=(token_digest(ensure_admin_token(settings.home)),),
        ),
    )


def build_handlers(
    settings: Settings,
    stores: Stores,
    fleet: Reconciler,
    computes: Computes,
    issuer: Issuer,
    books: Conservation,
    view: FleetView,
) -> tuple[Handlers, Authenticator]:
    """Makes the handlers; reads and makes the small files they need, so it runs in a thread."""
    ids = ArmIds(control_url=settings.control_url, ingress_url=settings.ingress_url)
    signer = SasSigner.open(settings.home)
    specs = Repository(stores.specs, Spec)
    operations = Operations(Repository(stores.states, Operation), ids)
    collector = _collector(stores, specs, settings.home)
    assets = asset_handlers.furnish(ids, signer, specs, stores.blobs, collector)
    writes = ResourceWrites(
        specs=specs,
        statuses=Repository(stores.states, Status),
        operations=operations,
        convergence=fleet,
    )
    endpoints = Endpoints(ids=ids, writes=writes, keys=stores.keys, issuer=issuer)
    clients = Clients(ids=ids, repository=Repository(stores.specs, Client))
    deployments = Deployments(
        ids=ids,
        writes=writes,
        endpoints=endpoints,
        references=AssetReferences(
            ids=ids, assets=assets.stores, has_bytes=stores.blobs.has_bytes, find=specs.find
        ),
        logs=computes,
        host=Host(cpus=cpu_count(), gpus=gpu_count()),
    )
    handlers = Handlers(
        workspace=assets.workspace,
        operations=operations,
        assets=assets,
        endpoints=endpoints,
        deployments=deployments,
        attachments=_attachments(settings, stores, deployments, fleet, _bytes_url(signer, ids)),
        clients=clients,
        issuers=_issuers(settings, stores, ids, fleet),
        provider=OpenIdProvider(control_url=settings.control_url, issuer=issuer, clients=clients),
        directory=Directory(ids=ids),
        blobs=BlobWire(stores.blobs, signer, workspace=ids.workspace.workspace),
        conservation=books,
        diagnosis=Diagnosis(blobs=stores.folder, live_ingresses=view.await_ingress),
        journal=EventLog(events=stores.events),
    )
    return handlers, _authenticator(settings, handlers, issuer)


def _attachments(
    settings: Settings,
    stores: Stores,
    deployments: Deployments,
    fleet: Reconciler,
    bytes_url: Callable[[], str],
) -> Attachments:
    return Attachments(
        deployments=deployments,
        states=stores.states,
        builder=fleet.builder,
        mint=_mint(settings),
        bytes_url=bytes_url,
    )


def _bytes_url(signer: SasSigner, ids: ArmIds) -> Callable[[], str]:
    """Signs an address of the bytes by digest for an instance whose home may lack them.

    A digest is told with a launch record alone, so the signature opens what that record names.
    """
    return lambda: (
        f"{ids.blob_base}/{DIGESTS}?"
        + signer.sign(DIGESTS, now=datetime.now(UTC), lifetime=FETCH_BOUND, permissions="r")
    )


def _mint(settings: Settings) -> Callable[[InstanceAddress], str]:
    """Users of their own on this home's server, whose keys it holds; else instances share ours.

    A home that once had a server of its own keeps its keys; to an outside server they mean nothing.
    """
    home = settings.home
    own = settings.nats_credentials in (None, home.credentials / f"{ROLE}.creds")
    if own and (home.nats / "keys").exists():
        return Identities(settings.home).mint_instance
    path = settings.nats_credentials
    shared = path.read_text() if path else ""
    return lambda _: shared


def _authenticator(settings: Settings, handlers: Handlers, issuer: Issuer) -> Authenticator:
    return Authenticator(
        admin_digest=token_digest(ensure_admin_token(settings.home)),
        issuer=issuer,
        control_url=settings.control_url,
        clients=handlers.clients.repository,
        issuers=handlers.issuers.repository,
        issuer_keys=handlers.issuers.keys,
    )


def _issuers(settings: Settings, stores: Stores, ids: ArmIds, fleet: Reconciler) -> Issuers:
    return Issuers(
        ids=ids,
        repository=Repository(stores.specs, OuterIssuer),
        keys=Repository(stores.states, IssuerKeys),
        fetch=IssuerFetch(allow_private=settings.allow_private_urls),
        wake=fleet.wake,
    )


def _collector(stores: Stores, specs: Repository[Spec], home: Home) -> Collector:
    return Collector(
        specs=specs,
        states=stores.states,
        index=stores.index,
        blobs=stores.folder,
        stage=stores.stage,
        environments=home.environments,
    )
