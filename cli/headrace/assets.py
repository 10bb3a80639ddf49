"""What models, environments, data and components have in common: versions, labels, archive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from headrace import edit
from headrace.call import Call
from headrace.client import Client
from headrace.errors import ApiError, BadUsage
from headrace_api.names import check_asset_name

_KINDS: Final = {
    "model": "models",
    "environment": "environments",
    "data": "data",
    "component": "components",
}
View = Callable[[Mapping[str, Any]], dict[str, Any]]


def version_path(kind: str, name: str, version: str) -> str:
    """Raises InvalidInput on names that no asset may bear."""
    check_asset_name(name, kind="name")
    check_asset_name(version, kind="version")
    return f"{kind}/{name}/versions/{version}"


def resolve(client: Client, kind: str, name: str, *, version: str = "", label: str = "") -> Any:
    """The ARM resource of a version, of a label, or of the latest. Raises ApiError when missing."""
    check_asset_name(name, kind="name")
    if version:
        return client.get(version_path(kind, name, version))
    if label not in ("", "latest"):
        raise BadUsage(f"label {label!r} is not supported: use latest or a version")
    query = {"$orderBy": "createdtime desc", "$top": "1"}
    found = client.values(f"{kind}/{name}/versions", **query)
    if not found:
        raise ApiError(404, "ResourceNotFound", f"there is no {name!r} among {kind}")
    return found[0]


def next_version(client: Client, kind: str, name: str) -> str:
    """1 for a new name, else what the container says."""
    check_asset_name(name, kind="name")
    container = client.find(f"{kind}/{name}")
    if container is None:
        return "1"
    return str(container["properties"].get("nextVersion") or "1")


def path_to_make(client: Client, kind: str, name: str, version: str | None) -> str:
    """Of the version, or of the next where none is given."""
    return version_path(kind, name, version or next_version(client, kind, name))


def given(call: Call, fields: tuple[str, ...]) -> dict[str, object]:
    """The fields of a new version that options name, tags among them."""
    values: dict[str, object] = {key: call.text(key) for key in fields if call.text(key)}
    if texts := call.many("tags"):
        values["tags"] = edit.pairs(texts, "--tags")
    return values


def show(call: Call, kind: str, view: View) -> Any:
    return view(_chosen(call, kind))


def list_all(call: Call, kind: str, view: View) -> Any:
    """Containers, or the versions of --name."""
    if call.flag("archived_only") and call.flag("include_archived"):
        raise BadUsage("--archived-only and --include-archived cannot be combined")
    shown = "ArchivedOnly" if call.flag("archived_only") else "ActiveOnly"
    query = {"listViewType": "All" if call.flag("include_archived") else shown}
    if count := call.text("max_results"):
        query["$top"] = count
    name = call.text("name")
    path = f"{kind}/{check_asset_name(name, kind='name')}/versions" if name else kind
    found = [view(one) for one in call.client.values(path, **query)]
    if stage := call.text("stage"):
        found = [one for one in found if one.get("stage") == stage]
    return found[: int(count)] if count else found


def archive(call: Call) -> None:
    """Of one version, or of the whole name when neither version nor label is given."""
    _set_archived(call, archived=True)


def restore(call: Call) -> None:
    """What `archive` took away."""
    _set_archived(call, archived=False)


def _set_archived(call: Call, *, archived: bool) -> None:
    kind = _KINDS[call.path.partition(" ")[0]]
    name = call.text("name")
    if call.text("version") or call.text("label"):
        path = _chosen_path(call, kind)
    else:
        path = f"{kind}/{check_asset_name(name, kind='name')}"
    arm, match = call.client.read(path)
    properties = arm["properties"] | {"isArchived": archived}
    call.client.put(path, {"properties": properties}, match=match)


def update(call: Call, kind: str, view: View, allowed: frozenset[str]) -> Any:
    """Change what may change of a version. Raises BadUsage on anything else."""
    path = _chosen_path(call, kind)
    arm, match = call.client.read(path)
    before = view(arm)
    after = edit.edited(before, call)
    if stage := call.text("stage"):
        after["stage"] = stage
    changed = {key for key in before | after if before.get(key) != after.get(key)}
    if wrong := sorted(changed - allowed):
        raise BadUsage(
            f"{', '.join(wrong)} of a version cannot change; "
            f"{', '.join(sorted(allowed))} can. Make a new version instead"
        )
    properties = arm["properties"] | {key: after.get(key) for key in changed}
    return view(call.client.put(path, {"properties": properties}, match=match).json())


def _chosen_path(call: Call, kind: str) -> str:
    version = call.text("version") or str(_chosen(call, kind)["id"]).rpartition("/")[2]
    return version_path(kind, call.text("name"), version)


def _chosen(call: Call, kind: str) -> Any:
    return resolve(
        call.client,
        kind,
        call.text("name"),
        version=call.text("version"),
        label=call.text("label"),
    )


def download(call: Call, kind: str, uri: str) -> Any:
    """Write a version's files below --download-path, in a folder of the asset's name."""
    from pathlib import Path

    from headrace.download import download as fetch

    arm = _chosen(call, kind)
    address = str(arm["properties"][uri])
    if not address.lower().startswith("azureml://"):
        raise BadUsage(
            f"{address} is not in a datastore of this workspace and cannot be downloaded"
        )
    target = Path(call.text("download_path") or ".") / call.text("name")
    count = fetch(call.client, address, target)
    return {"path": str(target), "files": count}
