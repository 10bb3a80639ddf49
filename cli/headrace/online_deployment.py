"""Verbs of `headrace online-deployment`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from headrace import edit, online_endpoint, operations
from headrace.call import Call
from headrace.errors import BadUsage, Detached, OperationFailed
from headrace_api.arm import read_error
from headrace_api.errors import Conflict
from headrace_api.names import check_endpoint_name
from headrace_api.views import deployment_view

if TYPE_CHECKING:
    from headrace_api.online_deployment import OnlineDeployment

FOLLOW_PERIOD_S: Final = 0.5
_OVERLAP_LINES: Final = 20
_CONTAINERS: Final = {
    "inference-server": "InferenceServer",
    "storage-initializer": "StorageInitializer",
}


def path_of(endpoint: str, name: str) -> str:
    """The deployment's path below the workspace. Raises InvalidInput on impossible names."""
    below = check_endpoint_name(name, kind="deployment")
    return f"{online_endpoint.path_of(endpoint)}/deployments/{below}"


def create(call: Call) -> Any:
    """Create a deployment; the same definition again changes nothing, a failed one is replaced."""
    if call.flag("all_traffic") and call.flag("no_wait"):
        raise BadUsage("--all-traffic waits for the operation; remove --no-wait")
    deployment = _from_file(call)
    # Asked first, so that nothing is uploaded for an endpoint that is not there.
    call.client.get(online_endpoint.path_of(deployment.endpoint_name))
    result = ensure(call, deployment)
    if call.flag("all_traffic"):
        online_endpoint.put_traffic(call, deployment.endpoint_name, {deployment.name: 100})
        call.say(f"  ✓ traffic {deployment.name} 100 %")
    return result


def ensure(call: Call, deployment: OnlineDeployment, *, may_change: bool = False) -> Any:
    """Create it, or wait for the one that is the same; Conflict for another, unless it may change.

    Raises Conflict, OperationFailed, Detached.
    """
    existing = call.client.find(path_of(deployment.endpoint_name, deployment.name))
    body = _registered(call, deployment)
    if existing is None or _state(existing) == "Failed":
        return _put(call, deployment, body)
    if different := _differences(existing, body, deployment):
        if may_change:
            return _put(call, deployment, body)
        raise Conflict(
            f"deployment {deployment.name!r} exists and differs in {', '.join(different)}",
            hint=f"headrace {call.path.partition(' ')[0]} update -f with the same file",
        )
    call.say(f"deployment {deployment.name} is unchanged")
    return deployment_view(_settled(call, deployment, existing))


def update(call: Call) -> Any:
    """Roll to a new definition: from a file, or the present one with changes."""
    from headrace_api.online_deployment import OnlineDeployment

    match = ""  # a file is the whole truth, whatever is there
    if call.text("file"):
        deployment = _from_file(call)
        call.client.get(path_of(deployment.endpoint_name, deployment.name))
    else:
        name, endpoint = call.text("name"), call.text("endpoint_name")
        if not name or not endpoint:
            raise BadUsage("no deployment given: use --file, or --name and --endpoint-name")
        arm, match = call.client.read(path_of(endpoint, name))
        current = OnlineDeployment.from_arm(arm)
        values = edit.edited(current.to_yaml(), call)
        deployment = OnlineDeployment.from_values(values, base=Path.cwd())
    return _put(call, deployment, _registered(call, deployment), match=match)


def show(call: Call) -> Any:
    return deployment_view(call.client.get(_named(call)))


def list_all(call: Call) -> Any:
    path = f"{online_endpoint.path_of(call.text('endpoint_name'))}/deployments"
    return [deployment_view(one) for one in call.client.values(path)]


def delete(call: Call) -> None:
    """Drain a deployment and delete it."""
    name, endpoint = call.text("name"), call.text("endpoint_name")
    path = _named(call)
    online_endpoint.confirm(call, f"Delete deployment {name} of endpoint {endpoint}?")
    answer = call.client.delete(path)
    online_endpoint.require_found(answer, f"deployment {name!r} of endpoint {endpoint!r}")
    resume = f"headrace online-deployment wait -n {name} -e {endpoint} --for deleted"
    operations.finish(call, answer, what=f"deleting deployment {name!r}", resume=resume)


def wait(call: Call) -> Any:
    """Wait for a state, and show the deployment when it still exists."""
    found = _waited(call, _named(call), call.text("name"), online_endpoint.timeout_s(call))
    return None if found is None else deployment_view(found)


def get_logs(call: Call) -> None:
    """Print the end of an instance's log; with --follow also what is added, until Ctrl-C."""
    path = f"{_named(call)}/getLogs"
    container = _CONTAINERS[call.text("container") or "inference-server"]
    body = {"tail": int(call.text("lines")), "containerType": container}
    seen: list[str] = []
    while True:
        content = str(call.client.post(path, body).json().get("content") or "")
        lines = content.splitlines()
        for line in added(seen, lines):
            click.echo(line)
        if not call.flag("follow"):
            return
        seen = lines
        time.sleep(FOLLOW_PERIOD_S)


def added(before: list[str], now: list[str]) -> list[str]:
    """The lines of `now` that follow what `before` ended with; all when they do not meet."""
    if now[: len(before)] == before:
        return now[len(before) :]
    end = before[-_OVERLAP_LINES:]
    for at in range(len(now), len(end) - 1, -1):
        if now[at - len(end) : at] == end:
            return now[at:]
    return now


def _named(call: Call) -> str:
    return path_of(call.text("endpoint_name"), call.text("name"))


def _state(arm: Mapping[str, Any]) -> str:
    return str(arm["properties"].get("provisioningState"))


def _from_file(call: Call) -> OnlineDeployment:
    from headrace_api.online_deployment import OnlineDeployment

    path = Path(call.text("file"))
    given: dict[str, object] = {
        "name": call.text("name") or None,
        "endpoint_name": call.text("endpoint_name") or None,
    }
    deployment = edit.from_file(OnlineDeployment, call, given)
    call.say(f"  ✓ validated {path.name}")
    return deployment


def _registered(call: Call, deployment: OnlineDeployment) -> dict[str, Any]:
    """Upload and register what is local or inline; returns the body of the PUT."""
    return deployment.to_arm(
        call.client.workspace,
        code_id=_code_id(call, deployment),
        model_id=_model_id(call, deployment),
        environment_id=_environment_id(call, deployment),
    )


def _code_id(call: Call, deployment: OnlineDeployment) -> str:
    code = deployment.code_configuration
    if code is None or not code.is_local:
        return ""
    folder = Path(str(code.code))
    if not call.flag("skip_script_validation"):
        from headrace.script_check import check_script

        if problem := check_script(folder / str(code.scoring_script)):
            call.warn(problem)
    from headrace.upload import upload_code

    done = upload_code(call.client, folder)
    call.say(f"  ✓ code {folder.name}  {done.tree.describe(cached=done.cached)}")
    return done.reference


def _model_id(call: Call, deployment: OnlineDeployment) -> str:
    from headrace_api.model import Model

    model = deployment.model
    if isinstance(model, str):
        if "@" in model:
            return _latest(call, model, "models")
        if model.startswith("azureml:") and "/datastores/" not in model:
            return ""
        if model.startswith("/subscriptions/"):
            return ""
        model = Model(path=model)
    if model is None:
        return ""
    from headrace.model import register

    return str(register(call, model)["id"])


def _environment_id(call: Call, deployment: OnlineDeployment) -> str:
    environment = deployment.environment
    if environment is None:
        return ""
    from headrace.environment import anonymous, curated

    if isinstance(environment, str):
        if found := curated(call, environment):
            return found
        return _latest(call, environment, "environments") if "@" in environment else ""
    if environment.name:
        call.warn("the name of an inline environment is ignored")

    arm = anonymous(call, environment)
    call.say("  ✓ environment")
    return str(arm["id"])


def _latest(call: Call, text: str, kind: str) -> str:
    from headrace.assets import resolve
    from headrace_api.references import parse_asset

    reference = parse_asset(text, kind=kind)
    return str(resolve(call.client, kind, reference.name, label=reference.label)["id"])


def _put(
    call: Call, deployment: OnlineDeployment, body: Mapping[str, Any], *, match: str = ""
) -> Any:
    name, endpoint = deployment.name, deployment.endpoint_name
    path = path_of(endpoint, name)
    answer = call.client.put(path, body, match=match)
    try:
        operations.finish(
            call, answer, what=f"deployment {name!r}", resume=_resume(call, deployment)
        )
    except OperationFailed as error:
        _explain(call, error, deployment)
        raise
    return deployment_view(answer.json() if call.flag("no_wait") else call.client.get(path))


def _resume(call: Call, deployment: OnlineDeployment) -> str:
    """How to wait again after a Ctrl-C."""
    if call.flag("all_traffic"):
        return "run the same command again to wait for it and then shift the traffic"
    return f"headrace online-deployment wait -n {deployment.name} -e {deployment.endpoint_name}"


def _settled(call: Call, deployment: OnlineDeployment, existing: Any) -> Any:
    """The deployment after what an earlier command began; at once where nothing is under way."""
    if call.flag("no_wait") or _state(existing) == "Succeeded":
        return existing
    path = path_of(deployment.endpoint_name, deployment.name)
    try:
        return _waited(call, path, deployment.name, None)
    except KeyboardInterrupt:
        raise Detached(
            f"deployment {deployment.name!r} is still running; only this command stopped waiting",
            hint=_resume(call, deployment),
        ) from None
    except OperationFailed as error:
        _explain(call, error, deployment)
        raise


def _waited(call: Call, path: str, name: str, timeout_s: float | None) -> Any:
    """The deployment once it is as `--for` says. Raises OperationFailed with what control says."""
    found: list[Any] = [None]

    def look() -> str | None:
        found[0] = call.client.find(path)
        return None if found[0] is None else _state(found[0])

    try:
        operations.wait_for(call, look, what=f"deployment {name!r}", timeout_s=timeout_s)
    except OperationFailed as error:
        told = read_error(found[0]["properties"].get("statusDetails"))
        if told is not None:
            error.label, error.detail, error.hint = told.code, told.message, told.hint
        raise
    return found[0]


def _explain(call: Call, error: OperationFailed, deployment: OnlineDeployment) -> None:
    """Add what helps: what the model's folder holds, where the log is, what still serves."""
    name, endpoint = deployment.name, deployment.endpoint_name
    error.detail = "\n".join(filter(None, [error.detail, _model_hint(error, deployment)]))
    where = f"headrace online-deployment get-logs -e {endpoint} -n {name}"
    error.more = f"{where}\n  {_still_serves(call, endpoint)}"
    error.hint = error.hint or "fix the cause and run the same command again"


def _model_hint(error: OperationFailed, deployment: OnlineDeployment) -> str:
    from headrace.model_folder import hint

    model = deployment.model
    path = model if isinstance(model, str) else model.path if model else None
    return hint(f"{error.message}\n{error.detail}", Path(path)) if path else ""


def _still_serves(call: Call, endpoint: str) -> str:
    arm = call.client.find(online_endpoint.path_of(endpoint))
    traffic: Mapping[str, int] = (arm or {}).get("properties", {}).get("traffic") or {}
    live = [f"{name} {percent} %" for name, percent in traffic.items() if percent]
    return f"traffic is unchanged: {', '.join(live) or 'no deployment has any'}"


def _differences(
    existing: Mapping[str, Any], body: Mapping[str, Any], wanted: OnlineDeployment
) -> list[str]:
    from headrace_api.online_deployment import OnlineDeployment

    found = OnlineDeployment.from_arm(existing, endpoint=wanted.endpoint_name, name=wanted.name)
    asked = OnlineDeployment.from_arm(body, endpoint=wanted.endpoint_name, name=wanted.name)
    return sorted(
        key
        for key in OnlineDeployment.model_fields
        if key != "location" and getattr(found, key) != getattr(asked, key)
    )
