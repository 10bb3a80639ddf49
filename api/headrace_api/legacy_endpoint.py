"""The single YAML of the 2021 preview: an endpoint with its deployments inside, split into both.

Source: seeds/002 (docs of 05/2021) and "History" in azure_behaviour.md 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from headrace_api.online_endpoint import MAX_DEPLOYMENTS
from headrace_api.yaml_file import Fault, InvalidResource, KeyPath, YamlFile, shown

DEPLOYMENTS: Final = "deployments"
_NOT_OFFERED: Final = {
    "target": "belongs to Kubernetes (AKS) endpoints, which are not supported yet; leave it out",
    "compute": "belongs to Kubernetes (AKS) endpoints, which are not supported yet; leave it out",
}
# Limits of scaling that went with scale_type auto; beside manual they never did anything.
_SCALE_KEYS: Final = frozenset(
    {"scale_type", "instance_count", "min_instances", "max_instances", "type"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacyFile:
    """What one file of 2021 is today: values in the shape of today's YAML, lines of the old."""

    endpoint: YamlFile
    deployments: tuple[YamlFile, ...]
    """In the order of the file; each with its endpoint_name."""


def is_legacy(values: Mapping[str, object]) -> bool:
    """Whether an endpoint's file has its deployments inside."""
    return DEPLOYMENTS in values


def split(source: YamlFile) -> LegacyFile:
    """Pure. Raises InvalidResource, one line for each thing that has no place today."""
    faults: list[Fault] = []
    blocks = _blocks(source, faults)
    endpoint = {key: one for key, one in source.values.items() if key not in (DEPLOYMENTS, "type")}
    kind = source.values.get("type", "online")
    if str(kind).lower() != "online":
        faults.append(Fault(key=("type",), text=f"is {shown(('type',), kind)}: online is allowed"))
    _refuse(endpoint, (), faults)
    name = str(source.values.get("name") or "")
    below = [_deployment(block, name, at, faults) for at, block in enumerate(blocks)]
    _check_names(source, below, faults)
    if faults:
        raise InvalidResource(source, faults)
    return LegacyFile(
        endpoint=YamlFile(path=source.path, values=endpoint, lines=source.lines),
        deployments=tuple(
            YamlFile(path=source.path, values=values, lines=_lines(source, at))
            for at, values in enumerate(below)
        ),
    )


def _blocks(source: YamlFile, faults: list[Fault]) -> list[dict[str, Any]]:
    found = source.values.get(DEPLOYMENTS) or []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        faults.append(Fault(key=(DEPLOYMENTS,), text="must be a list of blocks, each with a name"))
        return []
    if len(found) > MAX_DEPLOYMENTS:
        text = f"holds {len(found)}: at most {MAX_DEPLOYMENTS} are allowed"
        faults.append(Fault(key=(DEPLOYMENTS,), text=text))
        return []
    return found


def _deployment(
    block: Mapping[str, Any], endpoint: str, at: int, faults: list[Fault]
) -> dict[str, Any]:
    key: KeyPath = (DEPLOYMENTS, at)
    _refuse(block, key, faults)
    values = {name: one for name, one in block.items() if name not in ("type", "scale_settings")}
    values["endpoint_name"] = endpoint
    values |= _scale(block, key, faults)
    if isinstance(model := block.get("model"), dict):
        values["model"] = _local(model)
    if isinstance(environment := block.get("environment"), dict):
        values["environment"] = _environment(environment, (*key, "environment"), faults)
    if isinstance(code := block.get("code_configuration"), dict):
        inner = code.get("code")
        place = inner.get("local_path") if isinstance(inner, dict) else inner
        values["code_configuration"] = dict(code) | {"code": place}
    return values


def _refuse(block: Mapping[str, Any], key: KeyPath, faults: list[Fault]) -> None:
    faults += [
        Fault(key=(*key, name), text=text) for name, text in _NOT_OFFERED.items() if block.get(name)
    ]


def _scale(block: Mapping[str, Any], key: KeyPath, faults: list[Fault]) -> dict[str, Any]:
    """`scale_settings.instance_count` is `instance_count` today."""
    at = (*key, "scale_settings")
    settings = block.get("scale_settings")
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        faults.append(Fault(key=at, text="must be a block"))
        return {}
    kind = settings.get("scale_type", settings.get("type", "manual"))
    if str(kind).lower() not in ("manual", "default"):
        text = (
            f"is {shown(at, kind)}: manual is allowed; automatic scaling is not part of this file"
        )
        faults.append(Fault(key=(*at, "scale_type"), text=text))
    faults += [
        Fault(key=(*at, name), text="has no equivalent in today's deployments")
        for name in sorted(settings.keys() - _SCALE_KEYS)
    ]
    count = settings.get("instance_count")
    return {} if count is None else {"instance_count": count}


def _local(model: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: one for name, one in model.items() if name != "local_path"}
    return values | ({"path": model["local_path"]} if "local_path" in model else {})


def _environment(block: Mapping[str, Any], key: KeyPath, faults: list[Fault]) -> dict[str, Any]:
    """`docker.image` is `image` today; `path` was the folder that `docker.build` was built in."""
    values = {name: one for name, one in block.items() if name not in ("docker", "path")}
    docker = block.get("docker") or {}
    if not isinstance(docker, dict) or docker.keys() - {"image"}:
        text = "is not supported here: only docker.image is"
        faults.append(Fault(key=(*key, "docker"), text=text))
    elif image := docker.get("image"):
        values["image"] = image
    return values


def _check_names(source: YamlFile, below: list[dict[str, Any]], faults: list[Fault]) -> None:
    names = [str(one.get("name") or "").lower() for one in below]
    for at, name in enumerate(names):
        if name in names[:at]:
            faults.append(Fault(key=(DEPLOYMENTS, at, "name"), text=f"is {name!r} a second time"))
    traffic = source.values.get("traffic")
    for name, percent in (traffic if isinstance(traffic, dict) else {}).items():
        if percent and name.lower() not in names:
            text = f"is not a deployment in this file; it has {', '.join(names) or 'none'}"
            faults.append(Fault(key=("traffic", name), text=text))


def _lines(source: YamlFile, at: int) -> dict[KeyPath, int]:
    above = (DEPLOYMENTS, at)
    return {key[2:]: line for key, line in source.lines.items() if key[:2] == above and key[2:]}
