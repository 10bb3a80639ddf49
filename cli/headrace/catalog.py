"""Verbs of `headrace component`, `datastore`, `compute`, `schedule` and `workspace`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from headrace import assets, edit
from headrace.call import Call
from headrace.errors import ApiError, BadUsage
from headrace.online_endpoint import confirm, require_found
from headrace_api.names import check_asset_name
from headrace_api.settings.assets import COMPONENT
from headrace_api.settings.catalog import COMPUTE, DATASTORE, SCHEDULE
from headrace_api.settings.judge import refusals, unknown_keys, warnings_of
from headrace_api.settings.setting import Schema
from headrace_api.settings.told import warnings_in, without_warnings
from headrace_api.views import component_view
from headrace_api.yaml_file import InvalidResource, YamlFile, read_yaml, shown

COMPONENTS: Final = "components"
_SCHEDULE_WORDS: Final = {
    "time_zone": "timeZone",
    "start_time": "startTime",
    "end_time": "endTime",
    "week_days": "weekDays",
    "month_days": "monthDays",
}
View = Callable[[Mapping[str, Any]], dict[str, Any]]


def component_create(call: Call) -> Any:
    """Register a component from its file; code it brings is uploaded."""
    spec = _values(call, COMPONENT)
    spec.pop("$schema", None)
    name = call.text("name") or str(spec.get("name") or "")
    if not name:
        raise BadUsage("a component needs a name", hint="--name, or name in the file")
    version = call.text("version") or str(spec.get("version") or "")
    version = version or assets.next_version(call.client, COMPONENTS, name)
    code = spec.get("code")
    if isinstance(code, str) and not code.startswith(("azureml:", "git", "http")):
        from headrace.upload import upload_code

        folder = Path(call.text("file")).absolute().parent / code
        spec["code"] = f"azureml:{upload_code(call.client, folder).reference}"
    spec |= {"name": name, "version": version}
    properties = {
        "componentSpec": spec,
        "description": spec.get("description"),
        "tags": spec.get("tags") or {},
        "isAnonymous": False,
    }
    path = assets.version_path(COMPONENTS, name, version)
    return component_view(call.client.put(path, {"properties": properties}).json())


def component_show(call: Call) -> Any:
    return assets.show(call, COMPONENTS, component_view)


def component_list(call: Call) -> Any:
    return assets.list_all(call, COMPONENTS, component_view)


def component_update(call: Call) -> Any:
    return assets.update(call, COMPONENTS, component_view, frozenset({"description", "tags"}))


def datastore_create(call: Call) -> Any:
    """A container of the platform's own blob store, under a name."""
    values = _values(call, DATASTORE)
    properties = {
        "datastoreType": "AzureBlob",
        "containerName": values.get("container_name"),
        "description": values.get("description"),
        "tags": values.get("tags") or {},
        "properties": values.get("properties") or {},
    }
    return _put(call, "datastores", _name(call, values), {"properties": properties})


def datastore_show(call: Call) -> Any:
    return _shown(call.client.get(_path("datastores", call.text("name"))))


def datastore_list(call: Call) -> Any:
    return [_shown(one) for one in call.client.values("datastores")]


def datastore_delete(call: Call) -> None:
    _delete(call, "datastores")


def compute_create(call: Call) -> Any:
    """A cluster of the given size, kept for the jobs to come."""
    values = _values(call, COMPUTE)
    options = ("type", "min_instances", "max_instances", "size")
    values |= {name: text for name in options if (text := call.text(name))}
    return _put(call, "computes", _name(call, values), compute_body(values))


def compute_body(values: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a PUT. Raises BadUsage."""
    kind = str(values.get("type") or "amlcompute")
    idle_s = _whole(values, "idle_time_before_scale_down", 120)
    scale = {
        "minNodeCount": _whole(values, "min_instances", 0),
        "maxNodeCount": _whole(values, "max_instances", 1),
        "nodeIdleTimeBeforeScaleDown": f"PT{idle_s}S",
    }
    size = values.get("size") or "Standard_DS3_v2"
    inner = {"vmSize": size, "vmPriority": values.get("tier", "Dedicated"), "scaleSettings": scale}
    return {
        "tags": values.get("tags") or {},
        "properties": {
            "computeType": "AmlCompute" if kind.lower() == "amlcompute" else kind,
            "description": values.get("description"),
            "properties": inner,
        },
    }


def compute_show(call: Call) -> Any:
    return _shown(call.client.get(_path("computes", call.text("name"))))


def compute_list(call: Call) -> Any:
    return [_shown(one) for one in call.client.values("computes")]


def compute_update(call: Call) -> Any:
    """Change how many nodes there may be."""
    arm, match = call.client.read(_path("computes", call.text("name")))
    scale = arm["properties"]["properties"]["scaleSettings"]
    for option, key in (("min_instances", "minNodeCount"), ("max_instances", "maxNodeCount")):
        if text := call.text(option):
            scale[key] = _whole({option: text}, option, 0)
    return _put(call, "computes", call.text("name"), arm, match)


def compute_delete(call: Call) -> None:
    _delete(call, "computes")


def schedule_create(call: Call) -> Any:
    """Keep a schedule that is not enabled: none runs yet."""
    values = _values(call, SCHEDULE)
    return _put(call, "schedules", _name(call, values), schedule_body(values))


def schedule_body(values: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a PUT. Raises BadUsage."""
    trigger = values.get("trigger") or {}
    if not isinstance(trigger, dict):
        raise BadUsage("trigger must be a block of keys and values")
    trigger = dict(trigger)
    kind = str(trigger.pop("type", "")).capitalize()
    pattern = trigger.pop("schedule", None)
    renamed = {_SCHEDULE_WORDS.get(key, key): one for key, one in trigger.items()}
    if isinstance(pattern, dict):
        renamed["schedule"] = {_SCHEDULE_WORDS.get(key, key): one for key, one in pattern.items()}
    properties = {
        "displayName": values.get("display_name"),
        "description": values.get("description"),
        "tags": values.get("tags") or {},
        "properties": values.get("properties") or {},
        "trigger": {"triggerType": kind, **renamed},
        "action": {"actionType": "CreateJob", "jobDefinition": values.get("create_job")},
        "isEnabled": values.get("is_enabled", True),
    }
    return {"properties": properties}


def schedule_show(call: Call) -> Any:
    return _shown(call.client.get(_path("schedules", call.text("name"))))


def schedule_list(call: Call) -> Any:
    if call.flag("disabled_only") and call.flag("include_disabled"):
        raise BadUsage("--disabled-only and --include-disabled cannot be combined")
    view = "DisabledOnly" if call.flag("disabled_only") else "EnabledOnly"
    query = {"listViewType": "All" if call.flag("include_disabled") else view}
    if count := call.text("max_results"):
        query["$top"] = count
    return [_shown(one) for one in call.client.values("schedules", **query)]


def schedule_enable(call: Call) -> Any:
    return _switch(call, enabled=True)


def schedule_disable(call: Call) -> Any:
    return _switch(call, enabled=False)


def schedule_delete(call: Call) -> None:
    answer = call.client.delete(_path("schedules", call.text("name")))
    require_found(answer, f"schedule {call.text('name')!r}")


def schedule_update(call: Call) -> Any:
    arm, match = call.client.read(_path("schedules", call.text("name")))
    return _put(call, "schedules", call.text("name"), edit.edited(arm, call), match)


def workspace_show(call: Call) -> Any:
    return _shown(call.client.get(""))


def workspace_list(call: Call) -> Any:
    return [_shown(call.client.get(""))]


def workspace_update(call: Call) -> Any:
    """Change tags, description or display name."""
    properties = {
        "description": call.text("description"),
        "friendlyName": call.text("display_name"),
    }
    body: dict[str, Any] = {"properties": {key: one for key, one in properties.items() if one}}
    if texts := call.many("tags"):
        body["tags"] = edit.pairs(texts, "--tags")
    _, match = call.client.read("")
    return _shown(call.client.patch("", body, match=match).json())


def _values(call: Call, schema: Schema) -> dict[str, Any]:
    """What the file and the options say. Raises InvalidResource for keys that are refused here."""
    from headrace_api.resource import changed

    file = call.text("file")
    source = read_yaml(Path(file)) if file else YamlFile(values={})
    source = changed(source, edit.edited(dict(source.values), call))
    if faults := refusals(schema, source.values, wire=False) + unknown_keys(schema, source.values):
        raise InvalidResource(source, faults)
    for line in warnings_of(schema, source.values, wire=False):
        call.warn(line)
    return source.values


def _name(call: Call, values: Mapping[str, Any]) -> str:
    name = call.text("name") or str(values.get("name") or "")
    if not name:
        raise BadUsage("no name given: use --name, or name in the file")
    return name


def _path(kind: str, name: str) -> str:
    return f"{kind}/{check_asset_name(name, kind='name')}"


def _put(call: Call, kind: str, name: str, body: Mapping[str, Any], match: str = "") -> Any:
    return _shown(call.client.put(_path(kind, name), body, match=match).json())


def _whole(values: Mapping[str, Any], name: str, default: int) -> int:
    """Raises BadUsage."""
    found = values.get(name, default)
    try:
        return int(found)
    except (TypeError, ValueError, OverflowError):
        raise BadUsage(f"{name} is {shown((name,), found)}: use a whole number") from None


def _switch(call: Call, *, enabled: bool) -> Any:
    arm, match = call.client.read(_path("schedules", call.text("name")))
    arm["properties"]["isEnabled"] = enabled
    return _put(call, "schedules", call.text("name"), arm, match)


def _delete(call: Call, kind: str) -> None:
    name = call.text("name")
    confirm(call, f"Delete {kind[:-1]} {name}?")
    answer = call.client.delete(_path(kind, name))
    if answer.status == 204:
        raise ApiError(404, "ResourceNotFound", f"there is no {kind[:-1]} {name!r}")


def _shown(arm: Mapping[str, Any]) -> dict[str, Any]:
    """Name and properties at one level, as a table and --query want them."""
    own = {key: arm[key] for key in ("id", "name", "location", "tags") if arm.get(key) is not None}
    if told := warnings_in(arm):
        own["warnings"] = told
    properties = without_warnings(arm["properties"])
    return own | {key: one for key, one in properties.items() if one is not None}
