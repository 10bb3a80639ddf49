"""`online-endpoint create|update -f` with a file of 2021, which has its deployments inside.

The file is the whole truth, as it was then: a deployment that an update's file no longer has is
deleted, after the traffic has left it. On a terminal we ask first.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace import edit, online_deployment, online_endpoint, operations
from headrace.call import Call
from headrace.errors import BadUsage, CommandError
from headrace_api.environment import Environment
from headrace_api.legacy_endpoint import is_legacy, split
from headrace_api.online_deployment import OnlineDeployment
from headrace_api.online_endpoint import OnlineEndpoint
from headrace_api.views import endpoint_view
from headrace_api.yaml_file import YamlFile, read_yaml


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleFile:
    """An endpoint and its deployments, read and found good."""

    endpoint: OnlineEndpoint
    deployments: tuple[OnlineDeployment, ...]


def read(call: Call) -> SingleFile | None:
    """None when --file has no deployments inside. Raises InvalidInput, BadUsage."""
    path = Path(call.text("file"))
    source = read_yaml(path)
    if not is_legacy(source.values):
        return None
    if call.flag("no_wait"):
        raise BadUsage("a file that contains deployments is applied step by step; remove --no-wait")
    values = edit.edited(source.values, call) if _has_edits(call) else dict(source.values)
    if name := call.text("name"):
        values["name"] = name
    parts = split(YamlFile(path=path, values=values, lines=source.lines))
    found = SingleFile(
        endpoint=edit.from_source(OnlineEndpoint, call, parts.endpoint),
        deployments=tuple(
            edit.from_source(OnlineDeployment, call, one) for one in parts.deployments
        ),
    )
    call.say(f"  ✓ validated {path.name}: an endpoint with {len(found.deployments)} deployments")
    return found


def create(call: Call) -> Any:
    """`online-endpoint create`, of a file of either form."""
    file = read(call) if call.text("file") else None
    return online_endpoint.create(call) if file is None else _create(call, file)


def update(call: Call) -> Any:
    """`online-endpoint update`, of a file of either form."""
    file = read(call) if call.text("file") else None
    return online_endpoint.update(call) if file is None else _update(call, file)


def _create(call: Call, file: SingleFile) -> Any:
    """Create the endpoint, its deployments one after the other, then give them the traffic."""
    name = file.endpoint.name
    existing = call.client.find(online_endpoint.path_of(name))
    bare = file.endpoint.model_copy(update={"traffic": {}, "mirror_traffic": {}})
    if existing is None or online_endpoint.has_failed(existing):
        online_endpoint.put(call, bare)
        call.say(f"  ✓ endpoint {name}")
    else:
        online_endpoint.require_same(existing, file.endpoint, besides=("traffic", "mirror_traffic"))
    for one in file.deployments:
        online_deployment.ensure(call, _with_environment(call, one))
    return _finished(call, file)


def _update(call: Call, file: SingleFile) -> Any:
    """Make the endpoint what the file says, and delete what it no longer has."""
    path = online_endpoint.path_of(file.endpoint.name)
    current = OnlineEndpoint.from_arm(call.client.get(path))
    known = [str(one["name"]).lower() for one in call.client.values(f"{path}/deployments")]
    gone = removed(known, (one.name for one in file.deployments))
    _agree(call, file, current, gone)
    for one in file.deployments:
        online_deployment.ensure(call, _with_environment(call, one), may_change=True)
    result = _finished(call, file)
    for name in gone:
        answer = call.client.delete(online_deployment.path_of(file.endpoint.name, name))
        resume = f"headrace online-deployment wait -n {name} -e {file.endpoint.name} --for deleted"
        operations.finish(call, answer, what=f"deleting deployment {name!r}", resume=resume)
        call.say(f"  ✓ deleted {name}: it is no longer in the file")
    return result


def removed(known: Sequence[str], wanted: Iterable[str]) -> list[str]:
    """Deployments that exist and are not wanted; names in lower case. Pure."""
    kept = {name.lower() for name in wanted}
    return [name for name in known if name not in kept]


def _agree(call: Call, file: SingleFile, current: OnlineEndpoint, gone: Sequence[str]) -> None:
    """Before anything changes. Raises BadUsage, and CommandError when the answer is no."""
    if not gone:
        return
    live = [name for name in gone if current.traffic.get(name)]
    if live and "traffic" not in file.endpoint.model_fields_set:
        raise BadUsage(
            f"the file leaves out {', '.join(live)}, which has traffic, and does not "
            "say where that traffic goes",
            hint="add a traffic block to the file",
        )
    # Without a terminal it is a pipeline, for which such files were made: it meant what it wrote.
    if sys.stdin.isatty() and not call.flag("yes"):
        import click

        if not click.confirm(
            f"Delete {', '.join(gone)}, which the file no longer contains?", err=True
        ):
            raise CommandError("nothing was changed: you answered no")


def _finished(call: Call, file: SingleFile) -> Any:
    """The last step: traffic and whatever else the file says about the endpoint."""
    path = online_endpoint.path_of(file.endpoint.name)
    now = call.client.get(path)
    current = OnlineEndpoint.from_arm(now)
    given = {key: getattr(file.endpoint, key) for key in file.endpoint.model_fields_set}
    wanted = current.model_copy(update=given)
    # A mirror onto what goes live, or onto what the file leaves out, ends.
    mirrored = {one.name for one in file.deployments} - wanted.traffic.keys()
    mirror = {name: share for name, share in wanted.mirror_traffic.items() if name in mirrored}
    wanted = wanted.model_copy(update={"mirror_traffic": mirror})
    if wanted == current:
        return endpoint_view(now)
    result = online_endpoint.put(call, wanted)
    shares = ", ".join(f"{name} {percent} %" for name, percent in wanted.traffic.items())
    call.say(f"  ✓ traffic {shares or 'to none'}")
    return result


def _with_environment(call: Call, deployment: OnlineDeployment) -> OnlineDeployment:
    """Registers an environment by its name and version, as files of 2021 did."""
    environment = deployment.environment
    if not isinstance(environment, Environment) or not environment.name:
        return deployment
    if not environment.version:
        anonymous = environment.model_copy(update={"name": None})
        return deployment.model_copy(update={"environment": anonymous})
    from headrace.environment import register

    made = register(call, environment)
    call.say(f"  ✓ environment {environment.name}:{environment.version}")
    return deployment.model_copy(update={"environment": f"azureml:{made['id']}"})


def _has_edits(call: Call) -> bool:
    return any(call.many(option) for option in ("set", "add", "remove"))
