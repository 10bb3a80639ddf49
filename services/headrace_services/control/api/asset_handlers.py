"""Assets and the resources around them: their handlers made, and their routes in one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from headrace_services.control.arm.ids import ArmIds
from headrace_services.control.arm.request import Handler
from headrace_services.control.assets.asset_containers import AssetContainers
from headrace_services.control.assets.asset_resources import AssetResources
from headrace_services.control.assets.asset_store import AssetStore
from headrace_services.control.assets.asset_type import AssetType
from headrace_services.control.assets.asset_versions import AssetVersions
from headrace_services.control.assets.code_uploads import CodeUploads
from headrace_services.control.assets.content_rules import ContentRules
from headrace_services.control.assets.kinds import computes, datastores, schedules
from headrace_services.control.assets.registry import Catalog
from headrace_services.control.assets.types import KINDS
from headrace_services.control.assets.workspace import Workspace, account_name
from headrace_services.control.blobs.containers import ContainerStore
from headrace_services.control.blobs.sas import SasSigner
from headrace_services.control.gc.collector import Collector
from headrace_state.records import Spec
from headrace_state.repository import Repository

Add = Callable[[str, str, Handler], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class KindHandlers:
    """Those of one kind of asset."""

    versions: AssetVersions
    containers: AssetContainers


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetHandlers:
    """The handlers."""

    workspace: Workspace
    assets: Mapping[str, KindHandlers]
    """By kind."""
    code_uploads: CodeUploads
    datastores: Catalog
    computes: Catalog
    schedules: Catalog
    collector: Collector

    @property
    def stores(self) -> dict[str, AssetStore]:
        """By kind, for who looks up what a reference means."""
        return {kind: one.versions.store for kind, one in self.assets.items()}


def furnish(
    ids: ArmIds,
    signer: SasSigner,
    specs: Repository[Spec],
    blobs: ContainerStore,
    collector: Collector,
) -> AssetHandlers:
    """Make the handlers over what is stored."""
    stores = Catalog(datastores(partial(account_name, ids)), specs, ids)
    return AssetHandlers(
        workspace=Workspace(ids=ids, signer=signer, words=specs, datastores=stores),
        assets={kind.kind: _of_kind(kind, ids, specs, blobs, collector) for kind in KINDS},
        collector=collector,
        code_uploads=CodeUploads(ids=ids, signer=signer),
        datastores=stores,
        computes=Catalog(computes(), specs, ids),
        schedules=Catalog(schedules(), specs, ids),
    )


def _of_kind(
    kind: AssetType,
    ids: ArmIds,
    specs: Repository[Spec],
    blobs: ContainerStore,
    collector: Collector,
) -> KindHandlers:
    store = AssetStore(type=kind, specs=specs)
    resources = AssetResources(store=store, ids=ids)
    rules = ContentRules(
        type=kind,
        find=specs.find,
        has_bytes=blobs.has_bytes,
        is_condemned=collector.condemned.holds,
    )
    return KindHandlers(
        versions=AssetVersions(store=store, rules=rules, resources=resources),
        containers=AssetContainers(store=store, resources=resources),
    )


def add_asset_routes(add: Add, workspace: str, handlers: AssetHandlers) -> None:
    """`workspace` is the template of the workspace's path."""
    add("PATCH", workspace, handlers.workspace.update)
    add("POST", f"{workspace}/listKeys", handlers.workspace.list_keys)
    add("POST", f"{workspace}/resyncKeys", handlers.workspace.resync_keys)
    add("POST", f"{workspace}/collectGarbage", handlers.collector.collect)
    add("POST", f"{workspace}/datastores/{{name}}/listSecrets", handlers.workspace.list_secrets)
    for kind, assets in handlers.assets.items():
        _add_assets(add, f"{workspace}/{kind}", assets)
    upload = f"{workspace}/codes/{{name}}/versions/{{version}}/startPendingUpload"
    add("POST", upload, handlers.code_uploads.start)
    _add_catalog(add, f"{workspace}/datastores", handlers.datastores)
    _add_catalog(add, f"{workspace}/schedules", handlers.schedules)
    _add_catalog(add, f"{workspace}/computes", handlers.computes)
    add("PATCH", f"{workspace}/computes/{{name}}", handlers.computes.patch)
    add("POST", f"{workspace}/computes/{{name}}/listNodes", handlers.computes.list_nodes)


def _add_catalog(add: Add, base: str, catalog: Catalog) -> None:
    one = f"{base}/{{name}}"
    add("GET", base, catalog.list_all)
    add("GET", one, catalog.get)
    add("PUT", one, catalog.put)
    add("DELETE", one, catalog.delete)


def _add_assets(add: Add, base: str, assets: KindHandlers) -> None:
    version = f"{base}/{{name}}/versions/{{version}}"
    add("GET", base, assets.containers.list_all)
    add("GET", f"{base}/{{name}}", assets.containers.get)
    add("PUT", f"{base}/{{name}}", assets.containers.put)
    add("DELETE", f"{base}/{{name}}", assets.containers.delete)
    add("GET", f"{base}/{{name}}/versions", assets.versions.list_all)
    add("GET", version, assets.versions.get)
    add("PUT", version, assets.versions.put)
    add("DELETE", version, assets.versions.delete)
