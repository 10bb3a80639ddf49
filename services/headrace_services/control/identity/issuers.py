"""Outer OIDC issuers on the wire, and the upkeep of their keys."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import structlog

from headrace_api import arm
from headrace_api.errors import Conflict, HeadraceError, InvalidInput, NotFound
from headrace_api.settings.access import ISSUER
from headrace_api.settings.judge import require_known
from headrace_api.trusted_issuer import ALGORITHMS
from headrace_bus.errors import RevisionConflict
from headrace_services.control.arm.ids import ArmIds
from headrace_services.control.arm.request import Answer, Call, listing, object_at, text_at
from headrace_services.control.identity.clients import checked_id, endpoint_of, role_of
from headrace_services.control.identity.issuer_fetch import IssuerFetch, require_https
from headrace_services.control.resources.change_log import audit
from headrace_state.records import (
    IssuerKeys,
    OuterIssuer,
    issuer_key,
    issuer_keys_key,
)
from headrace_state.repository import Repository, readable
from headrace_state.roles import Role
from headrace_telemetry.clock import timestamp

log = structlog.get_logger(__name__)

KIND: Final = "issuers"
MAX_ISSUERS: Final = 32
MAX_TEXT_CHARS: Final = 512
MAX_CA_CHARS: Final = 64 * 1024
REFRESH_S: Final = 300.0  # a key the issuer withdrew is refused after so long at most
KEYS_LIFETIME_S: Final = 24 * 3600  # of keys whose issuer no longer answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuers:
    """Handlers of outer issuers."""

    ids: ArmIds
    repository: Repository[OuterIssuer]
    keys: Repository[IssuerKeys]
    fetch: IssuerFetch
    wake: Callable[[], None]
    """Tells the reconciler that routes may have changed."""
    now_s: Callable[[], float] = time.time

    async def put(self, call: Call) -> Answer:
        """Create; the issuer is asked for its keys first, so that a wrong address is told now."""
        record = _record(call)
        if len(await self.repository.list("issuer.")) >= MAX_ISSUERS:
            raise Conflict(f"there are already {MAX_ISSUERS} issuers", hint="delete some")
        keys = await self.fetch.keys(record.issuer, record.algorithms, ca=record.ca)
        try:
            stored = await self.repository.claim(issuer_key(record.id), record)
        except RevisionConflict:
            raise Conflict(f"issuer {record.id} exists", target=record.id) from None
        await self._keep(record.id, keys)
        audit(call, "write", str(self.ids.container(KIND, record.id)), stored.revision)
        return Answer(body=self._body(record), status=201)

    async def get(self, call: Call) -> Answer:
        issuer_id = checked_id(call.path["issuer"])
        stored = await self.repository.get(issuer_key(issuer_id))
        if stored is None:
            raise NotFound(f"issuer {issuer_id} does not exist", target=issuer_id)
        return Answer(body=self._body(stored.value))

    async def list_all(self, call: Call) -> Answer:
        return listing(self._body(one.value) for one in await self.repository.list("issuer."))

    async def delete(self, call: Call) -> Answer:
        issuer_id = checked_id(call.path["issuer"])
        stored = await self.repository.present(issuer_key(issuer_id))
        if stored is None:
            return Answer(status=204)
        await self.repository.delete(stored)
        if keys := await self.keys.present(issuer_keys_key(issuer_id)):
            await self.keys.delete(keys)
        audit(call, "delete", str(self.ids.container(KIND, issuer_id)), stored.revision)
        return Answer()

    async def refresh_forever(self) -> None:
        """Fetch every issuer's keys again and again; one that fails keeps its keys for a day."""
        while True:
            try:
                for stored in await self.repository.list("issuer."):
                    await self._refresh(stored.value)
            except HeadraceError as error:
                log.warning("issuers could not be read", error=error.message)
            await asyncio.sleep(REFRESH_S)

    async def _refresh(self, record: OuterIssuer) -> None:
        try:
            keys = await self.fetch.keys(record.issuer, record.algorithms, ca=record.ca)
            await self._keep(record.id, keys)
        except InvalidInput as error:
            log.warning("an issuer's keys could not be fetched", id=record.id, error=error.message)
            known = readable(await self.keys.present(issuer_keys_key(record.id)))
            if known is not None and self.now_s() - known.value.fetched_s > KEYS_LIFETIME_S:
                await self.keys.delete(known)
                self.wake()
        except RevisionConflict:
            return  # another control was faster

    async def _keep(self, issuer_id: str, keys: str) -> None:
        key = issuer_keys_key(issuer_id)
        found = await self.keys.present(key)
        await self.keys.put(found, key, IssuerKeys(keys=keys, fetched_s=self.now_s()))
        old = readable(found)
        if old is None or old.value.keys != keys:
            self.wake()

    def _body(self, record: OuterIssuer) -> dict[str, Any]:
        properties = {
            "issuer": record.issuer,
            "audience": record.audience,
            "algorithms": list(record.algorithms),
            "role": record.role,
            "endpoint": record.endpoint or None,
            "subject": record.subject or None,
            "createdAt": record.created_at,
            "createdBy": record.created_by,
        }
        return arm.resource(self.ids.container(KIND, record.id), properties)


def _record(call: Call) -> OuterIssuer:
    properties = object_at(call.body, "properties")
    require_known(ISSUER, call.body)
    issuer = _text(properties, "issuer", required=True)
    require_https(issuer)
    return OuterIssuer(
        id=checked_id(call.path["issuer"]),
        issuer=issuer,
        audience=_text(properties, "audience", required=True),
        algorithms=_algorithms(properties.get("algorithms", ["RS256"])),
        role=role_of(properties, Role.SCORER),
        endpoint=endpoint_of(properties),
        subject=_text(properties, "subject"),
        ca=_text(properties, "caCertificate", limit=MAX_CA_CHARS),
        created_at=timestamp(),
        created_by=call.principal.name,
    )


def _text(
    properties: dict[str, Any], name: str, *, required: bool = False, limit: int = MAX_TEXT_CHARS
) -> str:
    text = text_at(properties, name)
    if len(text) > limit or (required and not text):
        words = "is missing" if not text else f"is over {limit} characters"
        raise InvalidInput(f"{name!r} {words}", target=f"properties.{name}")
    return text


def _algorithms(given: object) -> tuple[str, ...]:
    names = given if isinstance(given, list) else []
    found = tuple(one for one in ALGORITHMS if one in names)
    if found and len(found) == len(names):
        return found
    raise InvalidInput(
        f"'algorithms' must be a list of {', '.join(ALGORITHMS)}", target="properties.algorithms"
    )
