"""Assets and the resources around them: their handlers made, and their routes in one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from headrace_services.control.arm_call import Handler
from headrace_services.control.arm_ids import ArmIds
from headrace_services.control.asset_types import KINDS
from headrace_services.control.assets import Assets
from headrace_services.control.blob_shelf import BlobShelf
from headrace_services.control.catalog import Catalog
from headrace_services.control.code_uploads import CodeUploads
from headrace_services.control.collector import Collector
from headrace_services.control.nouns import computes, datastores, schedules
from headrace_services.control.records import Spec
from headrace_services.control.sas import SasSigner
from headrace_services.control.stored import Shelf
from headrace_services.control.workspace import Workspace, account_name

Add = Callable[[str, str, Handler], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetRooms:
    """The handlers."""

    workspace: Workspace
    assets: Mapping[str, Assets]
    """By kind."""
    code_uploads: CodeUploads
    datastores: Catalog
    computes: Catalog
    schedules: Catalog
    collector: Collector


def furnish(
    ids: ArmIds, signer: SasSigner, specs: Shelf[Spec], blobs: BlobShelf, collector: Collector
) -> AssetRooms:
    """Make the handlers over what is stored."""
    stores = Catalog(datastores(partial(account_name, ids)), specs, ids)
    return AssetRooms(
        workspace=Workspace(ids=ids, signer=signer, words=specs, datastores=stores),
        assets={
            kind.kind: Assets(kind, specs, ids, blobs.has_bytes, collector.condemned.holds)
            for kind in KINDS
        },
        collector=collector,
        code_uploads=CodeUploads(ids=ids, signer=signer),
        datastores=stores,
        computes=Catalog(computes(), specs, ids),
        schedules=Catalog(schedules(), specs, ids),
    )


def add_asset_routes(add: Add, workspace: str, rooms: AssetRooms) -> None:
    """`workspace` is the template of the workspace's path."""
    add("PATCH", workspace, rooms.workspace.update)
    add("POST", f"{workspace}/listKeys", rooms.workspace.list_keys)
    add("POST", f"{workspace}/resyncKeys", rooms.workspace.resync_keys)
    add("POST", f"{workspace}/collectGarbage", rooms.collector.collect)
    add("POST", f"{workspace}/datastores/{{name}}/listSecrets", rooms.workspace.list_secrets)
    for kind, assets in rooms.assets.items():
        _add_assets(add, f"{workspace}/{kind}", assets)
    upload = f"{workspace}/codes/{{name}}/versions/{{version}}/startPendingUpload"
    add("POST", upload, rooms.code_uploads.start)
    _add_catalog(add, f"{workspace}/datastores", rooms.datastores)
    _add_catalog(add, f"{workspace}/schedules", rooms.schedules)
    _add_catalog(add, f"{workspace}/computes", rooms.computes)
    add("PATCH", f"{workspace}/computes/{{name}}", rooms.computes.patch)
    add("POST", f"{workspace}/computes/{{name}}/listNodes", rooms.computes.list_nodes)


def _add_catalog(add: Add, base: str, catalog: Catalog) -> None:
    one = f"{base}/{{name}}"
    add("GET", base, catalog.list_all)
    add("GET", one, catalog.get)
    add("PUT", one, catalog.put)
    add("DELETE", one, catalog.delete)


def _add_assets(add: Add, base: str, assets: Assets) -> None:
    version = f"{base}/{{name}}/versions/{{version}}"
    add("GET", base, assets.list_containers)
    add("GET", f"{base}/{{name}}", assets.get_container)
    add("PUT", f"{base}/{{name}}", assets.put_container)
    add("DELETE", f"{base}/{{name}}", assets.delete_container)
    add("GET", f"{base}/{{name}}/versions", assets.list_versions)
    add("GET", version, assets.get_version)
    add("PUT", version, assets.put_version)
    add("DELETE", version, assets.delete_version)
