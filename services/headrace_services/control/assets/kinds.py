"""What datastores, computes and schedules may hold; see `catalog` for how they are kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from headrace_api.errors import InvalidInput
from headrace_api.settings.catalog import COMPUTE, DATASTORE, SCHEDULE
from headrace_services.control.arm.request import Call, object_at, text_at
from headrace_services.control.assets.cron import check_cron
from headrace_services.control.assets.registry import ResourceKind
from headrace_services.control.blobs.http import CONTAINER
from headrace_state.blob_location import DATASTORES

DEFAULT_DATASTORE: Final = "workspaceblobstore"
STORAGE_SUFFIX: Final = "core.windows.net"  # never resolved: see Datastores.account_name
NOT_KEPT: Final = frozenset({"credentials", "provisioningState", "isDefault", "subscriptionId"})
_FREQUENCIES: Final = ("minute", "hour", "day", "week", "month")
_ACTIONS: Final = ("CreateJob", "InvokeBatchEndpoint")
_VIEWS: Final = {
    "": {True},
    "enabledonly": {True},
    "disabledonly": {False},
    "all": {True, False},
}
_AML_COMPUTE: Final = {
    "computeType": "AmlCompute",
    "provisioningState": "Succeeded",
    "isAttachedCompute": False,
    "properties": {
        "vmSize": "Standard_DS3_v2",
        "vmPriority": "Dedicated",
        "osType": "Linux",
        "allocationState": "Steady",
        "scaleSettings": {
            "minNodeCount": 0,
            "maxNodeCount": 4,
            "nodeIdleTimeBeforeScaleDown": "PT2M",
        },
    },
}


def datastores(account_name: Callable[[], str]) -> ResourceKind:
    """Named containers of this installation's blob store; ours alone signs for them."""

    def shown(properties: dict[str, Any]) -> dict[str, Any]:
        return {
            "tags": {},
            "properties": {},
            "serviceDataAccessAuthIdentity": "None",
            "isDefault": False,
            **properties,
            "datastoreType": "AzureBlob",
            "accountName": account_name(),
            "endpoint": STORAGE_SUFFIX,
            "protocol": "https",
            # `None` would make the SDK show its own token to the blob wire.
            "credentials": {"credentialsType": "AccountKey"},
        }

    builtin = {
        name: {"containerName": container, "isDefault": name == DEFAULT_DATASTORE}
        for name, container in DATASTORES.items()
    }
    return ResourceKind(
        kind="datastores",
        one="datastore",
        schema=DATASTORE,
        check=_datastore,
        builtin=builtin,
        shown=shown,
        lists=_lists_datastore,
    )


def computes() -> ResourceKind:
    """Computes are kept and shown; jobs that run on them come with the durable lane."""
    return ResourceKind(
        kind="computes",
        one="compute",
        schema=COMPUTE,
        check=_compute,
        builtin={"cpu-cluster": _AML_COMPUTE},
        is_tracked=True,
    )


def schedules() -> ResourceKind:
    """Schedules that are not enabled are kept and shown; none runs until jobs are offered."""
    return ResourceKind(
        kind="schedules",
        one="schedule",
        schema=SCHEDULE,
        check=_schedule,
        lists=_lists_schedule,
    )


def _datastore(properties: Mapping[str, Any]) -> dict[str, Any]:
    text_at(properties, "datastoreType", "AzureBlob")
    container = text_at(properties, "containerName")
    if len(container) > 63 or not re.fullmatch(CONTAINER, container):
        raise InvalidInput(
            f"containerName {container[:80]!r} is not allowed: use 3 to 63 lower-case letters, "
            "digits and single '-'",
            target="properties.containerName",
        )
    # Account keys and tokens of the caller's are never kept.
    kept = {key: one for key, one in properties.items() if one is not None and key not in NOT_KEPT}
    return kept | {"containerName": container}


def _lists_datastore(call: Call, name: str, properties: Mapping[str, Any]) -> bool:
    names = [one.strip().lower() for one in call.query.get("names", "").split(",") if one.strip()]
    is_default = call.query.get("isDefault", "").lower() == "true"
    return (not names or name.lower() in names) and (
        not is_default or bool(properties["isDefault"])
    )


def _compute(properties: Mapping[str, Any]) -> dict[str, Any]:
    if not text_at(properties, "computeType"):
        raise InvalidInput("computeType is required", target="properties.computeType")
    inner = object_at(properties, "properties")
    if not text_at(inner, "vmSize"):
        raise InvalidInput("vmSize is required", target="properties.properties.vmSize")
    scale = object_at(inner, "scaleSettings")
    counts = [
        scale.get(key, default) for key, default in (("minNodeCount", 0), ("maxNodeCount", 1))
    ]
    if not all(isinstance(one, int) and not isinstance(one, bool) for one in counts):
        raise InvalidInput("node counts are whole numbers", target="properties.scaleSettings")
    if not 0 <= counts[0] <= counts[1]:
        raise InvalidInput(
            f"minNodeCount is {counts[0]} and maxNodeCount {counts[1]}: use 0 or more, the least "
            "first",
            target="properties.scaleSettings",
        )
    inner["scaleSettings"] = scale | {"minNodeCount": counts[0], "maxNodeCount": counts[1]}
    inner.pop("adminUserPassword", None)
    return {
        **{key: one for key, one in properties.items() if one is not None},
        "computeType": "AmlCompute",
        "properties": {"osType": "Linux", "allocationState": "Steady"} | inner,
        "provisioningState": "Succeeded",
    }


def _schedule(properties: Mapping[str, Any]) -> dict[str, Any]:
    _check_trigger(object_at(properties, "trigger"))
    action = object_at(properties, "action")
    kind = text_at(action, "actionType")
    if kind.lower() not in {one.lower() for one in _ACTIONS}:
        raise InvalidInput(
            f"actionType is {kind[:80]!r}: use one of {', '.join(_ACTIONS)}",
            target="properties.action.actionType",
        )
    enabled = properties.get("isEnabled")
    if not isinstance(enabled, bool | None):
        raise InvalidInput("'isEnabled' must be true or false", target="properties.isEnabled")
    kept = {key: one for key, one in properties.items() if one is not None}
    return kept | {
        "isEnabled": enabled is not False,
        "provisioningState": "Succeeded",
        "tags": object_at(kept, "tags"),
        "properties": object_at(kept, "properties"),
    }


def _check_trigger(trigger: Mapping[str, Any]) -> None:
    match text_at(trigger, "triggerType").lower():
        case "cron":
            check_cron(text_at(trigger, "expression"))
        case "recurrence":
            if text_at(trigger, "frequency").lower() not in _FREQUENCIES:
                raise InvalidInput(
                    f"frequency is one of {', '.join(_FREQUENCIES)}",
                    target="properties.trigger.frequency",
                )
            interval = trigger.get("interval")
            if isinstance(interval, bool) or not isinstance(interval, int) or interval < 1:
                raise InvalidInput(
                    "interval is a whole number from 1", target="properties.trigger.interval"
                )
        case other:
            raise InvalidInput(
                f"triggerType is {other[:80]!r}: use Cron or Recurrence",
                target="properties.trigger.triggerType",
            )


def _lists_schedule(call: Call, _: str, properties: Mapping[str, Any]) -> bool:
    view = call.query.get("listViewType", "")
    wanted = _VIEWS.get(view.lower())
    if wanted is None:
        raise InvalidInput(
            f"listViewType is {view[:40]!r}: use EnabledOnly, DisabledOnly or All",
            target="listViewType",
        )
    return bool(properties.get("isEnabled", True)) in wanted
