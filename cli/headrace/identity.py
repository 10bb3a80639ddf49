"""The verbs of clients and outer issuers: who else than the admin may do what."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from headrace import errors
from headrace.call import Call
from headrace_api.errors import NotFound

CLIENTS: Final = "clients"
ISSUERS: Final = "issuers"
MAX_CA_BYTES: Final = 64 * 1024


def create_client(call: Call) -> dict[str, Any]:
    """The only time the secret is shown."""
    client_id = str(uuid4())
    properties = {
        "displayName": call.text("name") or None,
        "role": call.text("role"),
        "endpoint": call.text("endpoint") or None,
    }
    body = call.client.put(f"{CLIENTS}/{client_id}", {"properties": properties}).json()
    call.say("the secret is not shown again; only its digest is stored")
    return _client(body) | {"client_secret": body["properties"]["secret"]}


def list_clients(call: Call) -> list[dict[str, Any]]:
    return [_client(one) for one in call.client.values(CLIENTS)]


def delete_client(call: Call) -> None:
    """By id, or by a name that only one client has."""
    wanted = call.text("name")
    found = [one for one in list_clients(call) if wanted in (one["client_id"], one["name"])]
    if not found:
        raise NotFound(f"client {wanted!r} does not exist", hint="headrace client list")
    if len(found) > 1:
        raise errors.BadUsage(f"{len(found)} clients are named {wanted!r}; use the id")
    call.client.delete(f"{CLIENTS}/{found[0]['client_id']}")


def add_issuer(call: Call) -> dict[str, Any]:
    properties = {
        "issuer": call.text("issuer"),
        "audience": call.text("audience"),
        "algorithms": list(call.many("algorithm")) or ["RS256"],
        "role": call.text("role") or "scorer",
        "endpoint": call.text("endpoint") or None,
        "subject": call.text("subject") or None,
    }
    if path := call.text("ca_file"):
        properties["caCertificate"] = _pem(Path(path))
    body = call.client.put(f"{ISSUERS}/{uuid4()}", {"properties": properties}).json()
    return _issuer(body)


def list_issuers(call: Call) -> list[dict[str, Any]]:
    return [_issuer(one) for one in call.client.values(ISSUERS)]


def delete_issuer(call: Call) -> None:
    wanted = call.text("id")
    if wanted not in [one["id"] for one in list_issuers(call)]:
        raise NotFound(f"issuer {wanted!r} does not exist", hint="headrace issuer list")
    call.client.delete(f"{ISSUERS}/{wanted}")


def _client(body: dict[str, Any]) -> dict[str, Any]:
    found = body["properties"]
    return {
        "client_id": found["clientId"],
        "name": found["displayName"],
        "role": found["role"],
        "endpoint": found["endpoint"],
        "created_at": found["createdAt"],
        "created_by": found["createdBy"],
    }


def _issuer(body: dict[str, Any]) -> dict[str, Any]:
    found = body["properties"]
    names = ("issuer", "audience", "algorithms", "role", "endpoint", "subject")
    return {"id": body["name"], **{name: found[name] for name in names}}


def _pem(path: Path) -> str:
    try:
        with path.open(encoding="ascii") as file:
            return file.read(MAX_CA_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        raise errors.BadUsage(f"cannot read {path}: {error}") from error
