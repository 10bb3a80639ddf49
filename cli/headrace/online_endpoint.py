"""Verbs of `headrace online-endpoint`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from headrace import edit, operations
from headrace.call import Call
from headrace.client import tracer
from headrace.errors import ApiError, BadUsage, CommandError
from headrace.http_client import Answer, Http, api_error
from headrace_api.errors import Conflict
from headrace_api.names import check_endpoint_name
from headrace_api.views import endpoint_view

if TYPE_CHECKING:
    from headrace_api.online_endpoint import OnlineEndpoint

ENDPOINTS: Final = "onlineEndpoints"
MODEL_STATUS_HEADER: Final = "ms-azureml-model-error-statuscode"
OWN_REFUSAL: Final = "FailedDependency"
INVOKE_TIMEOUT_S: Final = 600.0  # longer than any deadline the ingress keeps
_CONTENT_TYPES: Final = {
    ".json": "application/json",
    ".csv": "text/csv",
    ".txt": "text/plain",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
}


def path_of(name: str) -> str:
    """The endpoint's path below the workspace. Raises InvalidInput on a name that cannot be."""
    return f"{ENDPOINTS}/{check_endpoint_name(name)}"


def create(call: Call) -> Any:
    """Create an endpoint; the same definition again changes nothing."""
    endpoint = _from_options(call)
    path = path_of(endpoint.name)
    existing = call.client.find(path)
    if existing is not None and not has_failed(existing):
        require_same(existing, endpoint)
        call.say(f"endpoint {endpoint.name} is unchanged")
        return endpoint_view(existing)
    return put(call, endpoint)


def update(call: Call) -> Any:
    """Change an endpoint; a file replaces it, keeping traffic and mirror it does not mention."""
    name = call.text("name") or _name_in_file(call)
    if not name:
        raise BadUsage("no endpoint given: use --name or --file")
    from headrace_api.online_endpoint import OnlineEndpoint

    arm, match = call.client.read(path_of(name))
    current = OnlineEndpoint.from_arm(arm)
    values = current.to_yaml()
    if call.text("file"):
        kept = {key: values[key] for key in ("traffic", "mirror_traffic") if key in values}
        values = kept | _file_values(call) | {"name": current.name}
    for option, key in (("traffic", "traffic"), ("mirror_traffic", "mirror_traffic")):
        if texts := call.many(option):
            values[key] = _percentages(texts, f"--{option.replace('_', '-')}")
    return put(call, OnlineEndpoint.from_values(edit.edited(values, call)), match=match)


def show(call: Call) -> Any:
    return endpoint_view(call.client.get(path_of(call.text("name"))))


def list_all(call: Call) -> Any:
    return [endpoint_view(one) for one in call.client.values(ENDPOINTS)]


def delete(call: Call) -> None:
    """Delete an endpoint and all its deployments."""
    name = call.text("name")
    path = path_of(name)
    confirm(call, f"Delete endpoint {name} and its deployments?")
    answer = call.client.delete(path)
    require_found(answer, f"endpoint {name!r}")
    resume = f"headrace online-endpoint wait -n {name} --for deleted"
    operations.finish(call, answer, what=f"deleting endpoint {name!r}", resume=resume)


def wait(call: Call) -> Any:
    """Wait for a state, and show the endpoint when it still exists."""
    name = call.text("name")
    found: list[Any] = [None]

    def look() -> str | None:
        found[0] = call.client.find(path_of(name))
        return None if found[0] is None else str(found[0]["properties"].get("provisioningState"))

    operations.wait_for(call, look, what=f"endpoint {name!r}", timeout_s=timeout_s(call))
    return None if found[0] is None else endpoint_view(found[0])


def get_credentials(call: Call) -> Any:
    """Keys or a token, by the endpoint's authentication."""
    path = path_of(call.text("name"))
    return _credentials(call, path, call.client.get(path))


def regenerate_keys(call: Call) -> None:
    """Replace one key; the other goes on working."""
    name = call.text("name")
    kind = (call.text("key_type") or "primary").capitalize()
    answer = call.client.post(f"{path_of(name)}/regenerateKeys", {"keyType": kind})
    resume = f"headrace online-endpoint wait -n {name}"
    operations.finish(call, answer, what=f"new keys of endpoint {name!r}", resume=resume)


def credential(call: Call, name: str) -> str:
    """What goes behind `Bearer`: the primary key, or a token."""
    path = path_of(name)
    found = _credentials(call, path, call.client.get(path))
    return str(found.get("primaryKey") or found.get("accessToken"))


def invoke(call: Call) -> None:
    """Send a request to the scoring address and print the answer as it is."""
    path = path_of(call.text("name"))
    arm = call.client.get(path)
    deployment = call.text("deployment_name")
    if deployment:
        _require_deployment(call, path, deployment)
    body, content_type = _request_body(call.text("request_file"))
    secret = _credentials(call, path, arm)
    headers = {
        "Authorization": f"Bearer {secret.get('primaryKey') or secret.get('accessToken')}",
        "Content-Type": content_type,
    }
    if deployment:
        headers["azureml-model-deployment"] = deployment.lower()
    answer = _score(call, str(arm["properties"].get("scoringUri") or ""), headers, body)
    sys.stdout.buffer.write(answer.body)
    sys.stdout.buffer.flush()
    if sys.stdout.isatty() and not answer.body.endswith(b"\n"):
        click.echo()


def confirm(call: Call, question: str) -> None:
    """Ask on a terminal. Raises BadUsage elsewhere without --yes, CommandError on no."""
    if call.flag("yes"):
        return
    if not sys.stdin.isatty():
        raise BadUsage("not deleted: pass --yes when there is no terminal to confirm on")
    if not click.confirm(question, err=True):
        raise CommandError("nothing was deleted: you answered no")


def require_found(answer: Answer, what: str) -> None:
    """A delete of nothing is 204 on the wire; here it is an error, as a name may be mistyped."""
    if answer.status == 204:
        raise ApiError(404, "ResourceNotFound", f"there is no {what}")


def timeout_s(call: Call) -> float | None:
    """--timeout. Raises BadUsage."""
    text = call.text("timeout")
    try:
        return float(text) if text else None
    except ValueError:
        raise BadUsage(f"--timeout {text!r}: a number of seconds is allowed") from None


def _from_options(call: Call) -> OnlineEndpoint:
    from headrace_api.online_endpoint import OnlineEndpoint

    given = {"name": call.text("name") or None, "auth_mode": call.text("auth_mode") or None}
    if call.text("file"):
        return edit.from_file(OnlineEndpoint, call, given)
    if not given["name"]:
        raise BadUsage("nothing to create: use --file or --name")
    return OnlineEndpoint.from_values(
        edit.edited({key: value for key, value in given.items() if value}, call)
    )


def _file_values(call: Call) -> dict[str, Any]:
    from headrace_api.online_endpoint import OnlineEndpoint
    from headrace_api.resource import with_overrides
    from headrace_api.yaml_file import read_yaml

    path = Path(call.text("file"))
    source = with_overrides(read_yaml(path), {"name": call.text("name") or None})
    endpoint = edit.from_source(OnlineEndpoint, call, source)
    values = endpoint.to_yaml()
    # An explicit empty table stops the traffic; one that is not mentioned leaves it.
    for key in endpoint.model_fields_set & {"traffic", "mirror_traffic"}:
        values[key] = getattr(endpoint, key)
    return values


def _name_in_file(call: Call) -> str:
    return str(_file_values(call)["name"]) if call.text("file") else ""


def _percentages(texts: tuple[str, ...], option: str) -> dict[str, int]:
    try:
        return {name: int(text) for name, text in edit.pairs(texts, option).items()}
    except ValueError:
        raise BadUsage(f"{option} {' '.join(texts)!r}: use whole numbers, as blue=90") from None


def put(call: Call, endpoint: OnlineEndpoint, *, match: str = "") -> Any:
    """Write the endpoint and wait for the end."""
    path = path_of(endpoint.name)
    answer = call.client.put(path, endpoint.to_arm(), match=match)
    resume = f"headrace online-endpoint wait -n {endpoint.name}"
    operations.finish(call, answer, what=f"endpoint {endpoint.name!r}", resume=resume)
    return endpoint_view(answer.json() if call.flag("no_wait") else call.client.get(path))


def put_traffic(call: Call, name: str, traffic: Mapping[str, int]) -> None:
    """Give the endpoint another table; a mirror onto a deployment that goes live ends."""
    from headrace_api.online_endpoint import OnlineEndpoint

    arm, match = call.client.read(path_of(name))
    values = OnlineEndpoint.from_arm(arm).to_yaml()
    mirror = values.get("mirror_traffic", {})
    values["traffic"] = dict(traffic)
    values["mirror_traffic"] = {key: one for key, one in mirror.items() if key not in traffic}
    put(call, OnlineEndpoint.from_values(values), match=match)


def has_failed(arm: Mapping[str, Any]) -> bool:
    """Whether its last operation did, so that a create may replace it."""
    return str(arm["properties"].get("provisioningState")) == "Failed"


def require_same(
    existing: Mapping[str, Any], wanted: OnlineEndpoint, *, besides: tuple[str, ...] = ()
) -> None:
    """Raises Conflict naming what differs; only what the file says counts."""
    from headrace_api.online_endpoint import OnlineEndpoint

    found = OnlineEndpoint.from_arm(existing)
    given = wanted.model_fields_set - {"name", "location", *besides}
    different = sorted(key for key in given if getattr(found, key) != getattr(wanted, key))
    if different:
        raise Conflict(
            f"endpoint {wanted.name!r} exists and differs in {', '.join(different)}",
            hint=f"headrace online-endpoint update -n {wanted.name} ...",
        )


def _credentials(call: Call, path: str, arm: Mapping[str, Any]) -> dict[str, Any]:
    mode = str(arm["properties"].get("authMode", "Key")).lower()
    if mode == "aadtoken":
        return {"accessToken": call.client.bearer()}
    action = "listKeys" if mode == "key" else "token"
    found: dict[str, Any] = call.client.post(f"{path}/{action}").json()
    return found


def _require_deployment(call: Call, path: str, deployment: str) -> None:
    known = [str(one["name"]).lower() for one in call.client.values(f"{path}/deployments")]
    if deployment.lower() not in known:
        has = ", ".join(known) or "none"
        raise ApiError(
            404,
            "DeploymentNotFound",
            f"Deployment name {deployment} not found for this endpoint; it has {has}",
        )


def _request_body(file: str) -> tuple[bytes, str]:
    if not file:
        if sys.stdin.isatty():
            raise BadUsage("nothing to send: use --request-file, or pipe a body into stdin")
        return sys.stdin.buffer.read(), "application/json"
    path = Path(file)
    try:
        kind = _CONTENT_TYPES.get(path.suffix.lower(), "application/octet-stream")
        return path.read_bytes(), kind
    except OSError as error:
        raise BadUsage(f"cannot read --request-file {file}: {error.strerror}") from error


def _score(call: Call, uri: str, headers: Mapping[str, str], body: bytes) -> Answer:
    if not uri:
        raise CommandError("the endpoint has no scoring address yet", hint="headrace status")
    from urllib.parse import urlsplit

    parts = urlsplit(uri)
    http = Http(
        f"{parts.scheme}://{parts.netloc}",
        ca=call.settings.home.ca,
        trace=tracer(call.settings),
        timeout_s=INVOKE_TIMEOUT_S,
    )
    answer = http.send("POST", parts.path, headers=headers, body=body)
    http.close()
    if answer.status < 400:
        return answer
    error = api_error(answer)
    if status := answer.headers.get(MODEL_STATUS_HEADER):
        # An answer of the platform's own has its code, and no model has been asked.
        if error.label != OWN_REFUSAL:
            error.hint = f"the model answered {status}; its log has the traceback"
        error.more = "\n  ".join(_log_commands(call, answer))
    elif answer.status == 404 and not call.text("deployment_name"):
        error.hint = _routing_hint(call)
    raise error


def _routing_hint(call: Call) -> str:
    """What gives a request somewhere to go, by what the endpoint has."""
    endpoint = call.text("name")
    found = call.client.values(f"{path_of(endpoint)}/deployments")
    if not found:
        return f"headrace online-deployment create -e {endpoint} -f FILE --all-traffic"
    name = found[0]["name"]
    return f"headrace online-endpoint update -n {endpoint} --traffic {name}=100"


def _log_commands(call: Call, answer: Answer) -> list[str]:
    """The commands that print the logs of the deployments that may have been asked."""
    endpoint = call.text("name")
    named = call.text("deployment_name") or answer.headers.get("azureml-model-deployment", "")
    names = [named]
    if not named:
        arm = call.client.find(path_of(endpoint)) or {}
        traffic = arm.get("properties", {}).get("traffic") or {}
        names = [name for name, percent in traffic.items() if percent]
    return [f"headrace online-deployment get-logs -e {endpoint} -n {name}" for name in names]
