"""Clients on the wire: an id and a secret with one role. The secret is told once, at creation."""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Any, Final

from headrace_api import arm
from headrace_api.errors import Conflict, InvalidInput, NotFound
from headrace_api.names import check_endpoint_name
from headrace_api.settings.access import CLIENT
from headrace_api.settings.judge import require_known
from headrace_bus.errors import RevisionConflict
from headrace_services.control.arm.ids import ArmIds
from headrace_services.control.arm.request import Answer, Call, listing, object_at, text_at
from headrace_services.control.identity.auth import token_digest
from headrace_services.control.resources.change_log import audit
from headrace_state.records import Client, client_key
from headrace_state.repository import Repository, Stored, readable
from headrace_state.roles import Role
from headrace_telemetry.clock import timestamp

SECRET_BYTES: Final = 32
MAX_CLIENTS: Final = 1_000
MAX_NAME_CHARS: Final = 128
KIND: Final = "clients"
_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NOBODY: Final = token_digest("")


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """Handlers of clients, and the judge of their secrets."""

    ids: ArmIds
    repository: Repository[Client]

    async def put(self, call: Call) -> Answer:
        """Create; the answer is the only one that ever holds the secret."""
        client_id = checked_id(call.path["client"])
        properties = object_at(call.body, "properties")
        require_known(CLIENT, call.body)
        secret = secrets.token_urlsafe(SECRET_BYTES)
        client = Client(
            id=client_id,
            name=_name(properties) or client_id,
            role=role_of(properties),
            endpoint=endpoint_of(properties),
            secret_digest=token_digest(secret),
            created_at=timestamp(),
            created_by=call.principal.name,
        )
        if len(await self.repository.list("client.")) >= MAX_CLIENTS:
            raise Conflict(f"there are already {MAX_CLIENTS} clients", hint="delete some")
        try:
            stored = await self.repository.claim(client_key(client_id), client)
        except RevisionConflict:
            raise Conflict(f"client {client_id} exists", target=client_id) from None
        audit(call, "write", str(self.ids.container(KIND, client_id)), stored.revision)
        body = self._body(client)
        body["properties"]["secret"] = secret
        return Answer(body=body, status=201)

    async def get(self, call: Call) -> Answer:
        return Answer(body=self._body((await self._known(call)).value))

    async def list_all(self, call: Call) -> Answer:
        return listing(self._body(one.value) for one in await self.repository.list("client."))

    async def delete(self, call: Call) -> Answer:
        """Its tokens are refused here at once, and by ingresses with their next route."""
        client_id = checked_id(call.path["client"])
        stored = await self.repository.present(client_key(client_id))
        if stored is None:
            return Answer(status=204)
        await self.repository.delete(stored)
        audit(call, "delete", str(self.ids.container(KIND, client_id)), stored.revision)
        return Answer()

    async def proven(self, client_id: str, secret: str) -> Client | None:
        """The client whose secret this is. An unknown id takes the same comparison."""
        known = bool(_ID.fullmatch(client_id))
        stored = readable(await self.repository.present(client_key(client_id))) if known else None
        digest = stored.value.secret_digest if stored else _NOBODY
        good = hmac.compare_digest(token_digest(secret), digest)
        return stored.value if stored is not None and good else None

    async def _known(self, call: Call) -> Stored[Client]:
        client_id = checked_id(call.path["client"])
        if (stored := await self.repository.get(client_key(client_id))) is not None:
            return stored
        raise NotFound(f"client {client_id} does not exist", target=client_id)

    def _body(self, client: Client) -> dict[str, Any]:
        properties = {
            "clientId": client.id,
            "displayName": client.name,
            "role": client.role,
            "endpoint": client.endpoint or None,
            "createdAt": client.created_at,
            "createdBy": client.created_by,
        }
        return arm.resource(self.ids.container(KIND, client.id), properties)


def checked_id(text: str) -> str:
    """A lower-case GUID. Raises InvalidInput."""
    if _ID.fullmatch(text.lower()):
        return text.lower()
    raise InvalidInput(f"{text[:64]!r} is not an id: use a GUID", target="id")


def role_of(properties: dict[str, Any], default: str = "") -> str:
    """Raises InvalidInput."""
    role = text_at(properties, "role", default)
    if role in set(Role):
        return role
    raise InvalidInput(f"role is {role[:64]!r}: use {', '.join(Role)}", target="properties.role")


def endpoint_of(properties: dict[str, Any]) -> str:
    """The endpoint a role is limited to, which need not be there yet. Raises InvalidInput."""
    name = text_at(properties, "endpoint")
    return check_endpoint_name(name) if name else ""


def _name(properties: dict[str, Any]) -> str:
    name = text_at(properties, "displayName")
    if len(name) > MAX_NAME_CHARS or not name.isprintable():
        raise InvalidInput(
            f"displayName must be at most {MAX_NAME_CHARS} printable characters",
            target="properties.displayName",
        )
    return name
