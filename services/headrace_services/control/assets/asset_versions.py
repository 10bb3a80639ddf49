"""Versions of assets on the wire: PUT, GET, list, DELETE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from headrace_api.errors import Conflict, InvalidInput
from headrace_api.names import check_asset_name
from headrace_api.settings.judge import require_allowed
from headrace_services.control.arm.paging import paged
from headrace_services.control.arm.request import Answer, Call, object_at
from headrace_services.control.assets.asset_resources import AssetResources
from headrace_services.control.assets.asset_store import AssetStore
from headrace_services.control.assets.bodies import clean_properties_of, view_of
from headrace_services.control.assets.content_rules import ContentRules
from headrace_services.control.resources.change_log import audit
from headrace_services.control.resources.writes import require_match
from headrace_state.records import Spec
from headrace_state.repository import readable
from headrace_telemetry.clock import timestamp

NEWEST_FIRST: Final = ("", "createdtime desc", "createdat desc")
OLDEST_FIRST: Final = ("createdtime", "createdtime asc", "createdat asc", "createdat")


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetVersions:
    """Handlers of the versions of one kind of asset."""

    store: AssetStore
    rules: ContentRules
    resources: AssetResources

    async def put(self, call: Call) -> Answer:
        """Create a version, or change what may change of it: words, tags, archived."""
        name, version = _named(call)
        key = self.store.version_key(name, version)
        found = await self.store.specs.present(key)
        old = readable(found)
        if old is None:  # one that was stored before may be described and archived
            require_allowed(self.store.type.schema, call.body)
        given = await self._checked(call, name, version)
        require_match(call, found)
        if old is not None:
            self.rules.require_same(self.resources.properties(old.value), given)
            await self.rules.require_kept(old.value)
        now = timestamp()
        spec = Spec(
            name=name,
            arm={"properties": given, "version": version},
            created_at=old.value.created_at if old else now,
            modified_at=now,
            created_by=old.value.created_by if old else call.principal.name,
        )
        stored = await self.store.put(found, key, spec)
        if old is None:
            try:
                await self.rules.require_kept(stored.value)
            except Conflict:
                await self.store.drop(stored, name)
                raise
        audit(call, "write", self.resources.id_of(stored.value), stored.revision)
        return Answer(body=self.resources.version(stored.value), status=200 if old else 201)

    async def get(self, call: Call) -> Answer:
        stored = await self.store.known(*_named(call))
        return Answer(body=self.resources.version(stored.value), headers=stored.etag)

    async def delete(self, call: Call) -> Answer:
        """The bytes stay: other assets may share them, and running instances have their own."""
        name, version = _named(call)
        stored = await self.store.specs.present(self.store.version_key(name, version))
        if stored is None:
            return Answer(status=204)
        await self.store.drop(stored, name)
        identity = self.resources.ids.version(self.store.type.kind, name, version)
        audit(call, "delete", str(identity), stored.revision)
        return Answer(status=200)

    async def list_all(self, call: Call) -> Answer:
        """Newest creation first (azure_rest.md 6.11); a `hash` looks through all names."""
        is_shown = view_of(call)
        wanted = call.query.get("hash", "")
        if wanted:
            found = await self.store.of_hash(wanted)
        else:
            name = check_asset_name(call.path["name"], kind="name")
            found = await self.store.versions(name)
        shown = [one for one in found if is_shown(one.arm["properties"])]
        if _is_oldest_first(call):
            shown.reverse()
        bodies = [self.resources.version(one) for one in shown]
        return paged(call, self.resources.ids.control_url, bodies)

    async def _checked(self, call: Call, name: str, version: str) -> dict[str, Any]:
        properties = clean_properties_of(object_at(call.body, "properties"))
        identity = str(self.resources.ids.version(self.store.type.kind, name, version))
        self.store.type.check({"id": identity, "name": name, "properties": properties})
        await self.rules.require_bytes(properties)
        return self.store.type.complete({**self.store.type.defaults, **properties}, name, version)


def _named(call: Call) -> tuple[str, str]:
    name = check_asset_name(call.path["name"], kind="name")
    return name, check_asset_name(call.path["version"], kind="version")


def _is_oldest_first(call: Call) -> bool:
    """Raises InvalidInput on an order that is not by creation."""
    order = " ".join(call.query.get("$orderBy", "").lower().split())
    if order not in NEWEST_FIRST + OLDEST_FIRST:
        raise InvalidInput(
            f"$orderBy is {order[:40]!r}: use 'createdtime desc' or 'createdtime asc'",
            target="$orderBy",
        )
    return order in OLDEST_FIRST
