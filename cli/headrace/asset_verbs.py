"""Rows of the table of verbs: data, components, datastores, computes, schedules, workspace."""

from __future__ import annotations

from typing import Final

GROUPS: Final = {
    "data": "Registered files, folders and tables.",
    "component": "Pipeline steps.",
    "datastore": "Named containers of the blob store.",
    "compute": "Compute clusters (stored only; nothing runs on them yet).",
    "schedule": "Schedules (stored while disabled; none runs yet).",
    "workspace": "This installation.",
}
_DATA: Final = "headrace.data:"
_ASSETS: Final = "headrace.assets:"
_KEPT: Final = "headrace.catalog:"
_LIST: Final = "--archived-only, --include-archived, --max-results -r, --name -n, --registry-name"
_LABEL: Final = "--label -l, --version -v"
_ASSET: Final = "--label -l, --registry-name, --version -v"
_CREATE_DATA: Final = (
    "--datastore, --description -d, --file -f, --name -n, --no-wait, --path -p, "
    "--registry-name, --skip-validation, --type -t, --version -v"
)
_NODES: Final = "--max-instances, --min-instances"
_NAME: Final = "--name -n"
_WORDS: Final = "name version latest_version type description path"
_STORE: Final = "name containerName isDefault"

ROWS: Final = (
    # verb, handler, help, required, optional, ours, generic, columns
    (
        "data create",
        _DATA + "create",
        "Register a data asset.",
        "",
        _CREATE_DATA,
        "",
        "--set",
        _WORDS,
    ),
    ("data show", _DATA + "show", "Show a version of a data asset.", _NAME, _ASSET, "", "", _WORDS),
    (
        "data list",
        _DATA + "list_all",
        "List data assets, or the versions of one.",
        "",
        _LIST,
        "",
        "",
        _WORDS,
    ),
    (
        "data update",
        _DATA + "update",
        "Change description or tags.",
        _NAME,
        _ASSET,
        "",
        "GEN",
        _WORDS,
    ),
    (
        "data archive",
        _ASSETS + "archive",
        "Archive a data asset: hide it from lists.",
        _NAME,
        _LABEL,
        "",
        "",
        "",
    ),
    (
        "data restore",
        _ASSETS + "restore",
        "Show archived data in lists again.",
        _NAME,
        _LABEL,
        "",
        "",
        "",
    ),
    (
        "data download",
        _DATA + "download",
        "Download data into a folder.",
        "",
        "",
        "--name -n, --version -v, --download-path -p",
        "",
        "",
    ),
    (
        "model download",
        "headrace.model:download",
        "Download a model into a folder.",
        "--name -n, --version -v",
        "--download-path -p, --registry-name",
        "",
        "",
        "",
    ),
    (
        "component create",
        _KEPT + "component_create",
        "Register a component.",
        "--file -f",
        "--name -n, --version -v",
        "",
        "--set",
        _WORDS,
    ),
    ("component show", _KEPT + "component_show", "Show it.", _NAME, _ASSET, "", "", _WORDS),
    ("component list", _KEPT + "component_list", "List them.", "", _LIST, "", "", _WORDS),
    ("component update", _KEPT + "component_update", "Words.", _NAME, _ASSET, "", "GEN", _WORDS),
    ("component archive", _ASSETS + "archive", "Hide it.", _NAME, _ASSET, "", "", ""),
    ("component restore", _ASSETS + "restore", "Show it.", _NAME, _ASSET, "", "", ""),
    (
        "datastore create",
        _KEPT + "datastore_create",
        "Create a datastore.",
        "--file -f",
        _NAME,
        "",
        "--set",
        _STORE,
    ),
    ("datastore show", _KEPT + "datastore_show", "Show it.", _NAME, "", "", "", _STORE),
    ("datastore list", _KEPT + "datastore_list", "List them.", "", "", "", "", _STORE),
    ("datastore delete", _KEPT + "datastore_delete", "Forget it.", _NAME, "--yes -y", "", "", ""),
    (
        "compute create",
        _KEPT + "compute_create",
        "Store the definition of a cluster.",
        "",
        f"--file -f, {_NAME}, --size, --type -t, {_NODES}",
        "",
        "--set",
        "",
    ),
    ("compute show", _KEPT + "compute_show", "Show it.", _NAME, "", "", "", ""),
    ("compute list", _KEPT + "compute_list", "List them.", "", "", "", "", "name computeType"),
    (
        "compute update",
        _KEPT + "compute_update",
        "Change the node limits.",
        _NAME,
        _NODES,
        "",
        "",
        "",
    ),
    ("compute delete", _KEPT + "compute_delete", "Forget it.", _NAME, "--yes -y", "", "", ""),
    (
        "schedule create",
        _KEPT + "schedule_create",
        "Store a schedule that is not enabled; none runs yet.",
        "--file -f",
        "--name -n, --no-wait",
        "",
        "--set",
        "",
    ),
    ("schedule show", _KEPT + "schedule_show", "Show it.", _NAME, "", "", "", ""),
    (
        "schedule list",
        _KEPT + "schedule_list",
        "List schedules.",
        "",
        "--disabled-only, --include-disabled, --max-results -r",
        "",
        "",
        "name displayName isEnabled",
    ),
    ("schedule enable", _KEPT + "schedule_enable", "Enable.", _NAME, "--no-wait", "", "", ""),
    ("schedule disable", _KEPT + "schedule_disable", "Disable.", _NAME, "--no-wait", "", "", ""),
    ("schedule update", _KEPT + "schedule_update", "Change.", _NAME, "--no-wait", "", "GEN", ""),
    ("schedule delete", _KEPT + "schedule_delete", "Delete.", _NAME, "--no-wait", "", "", ""),
    ("workspace show", _KEPT + "workspace_show", "Show it.", "", "", "", "", ""),
    ("workspace list", _KEPT + "workspace_list", "List it.", "", "", "", "", "name location"),
    (
        "workspace update",
        _KEPT + "workspace_update",
        "Change description, display name or tags.",
        "",
        "--description, --display-name, --tags",
        "",
        "",
        "",
    ),
)
