"""Resources that are kept as they came and done at once: datastores, computes and schedules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace_api import arm
from headrace_api.errors import Conflict, NotFound
from headrace_api.names import check_asset_name
from headrace_api.settings.judge import require_allowed, warnings_of, warnings_of_stored
from headrace_api.settings.setting import Schema
from headrace_api.settings.told import with_warnings, without_warnings
from headrace_bus.errors import RevisionConflict
from headrace_services.control.arm.ids import ArmIds
from headrace_services.control.arm.merge_patch import merged
from headrace_services.control.arm.paging import paged
from headrace_services.control.arm.request import Answer, Call, object_at
from headrace_services.control.assets.bodies import system_data
from headrace_services.control.resources.change_log import audit
from headrace_services.control.resources.writes import ChangedMeanwhile, require_match
from headrace_state.records import Spec, catalog_key
from headrace_state.repository import Damaged, Repository, Stored, readable
from headrace_telemetry.clock import timestamp

TRACKED = ("location", "tags", "identity")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceKind:
    """One kind of such a resource."""

    kind: str
    """Segment of the path, and of the key."""
    one: str
    """As a message calls it."""
    schema: Schema
    """What becomes of its settings."""
    check: Callable[[Mapping[str, Any]], dict[str, Any]]
    """The properties to keep, of those that were given. Raises InvalidInput."""
    builtin: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Properties of those that are always there and cannot be changed, by name."""
    shown: Callable[[dict[str, Any]], dict[str, Any]] = lambda properties: properties
    """Adds to the properties what only a reader sees."""
    lists: Callable[[Call, str, Mapping[str, Any]], bool] = lambda _call, _name, _properties: True
    """Whether a list shows a resource, by its name and properties."""
    is_tracked: bool = False
    """Whether it has a location and tags of its own."""


class Catalog:
    """Handlers of one noun. A write ends with its answer: there is nothing to wait for."""

    def __init__(self, noun: ResourceKind, specs: Repository[Spec], ids: ArmIds) -> None:
        self._noun = noun
        self._specs = specs
        self._ids = ids

    async def get(self, call: Call) -> Answer:
        name = _name(call)
        if self._is_builtin(name):
            return Answer(body=await self.known(name))
        stored = await self._stored(name)
        return Answer(body=self._body(stored.value), headers=stored.etag)

    async def list_all(self, call: Call) -> Answer:
        """By name; those that are always there come first."""
        stored = await self._specs.list(catalog_key(self._noun.kind, "")[:-1])
        bodies = [self._builtin(name) for name in self._noun.builtin]
        bodies += [self._body(one.value) for one in stored]
        shown = [
            one for one in bodies if self._noun.lists(call, str(one["name"]), one["properties"])
        ]
        return paged(call, self._ids.control_url, shown)

    async def put(self, call: Call) -> Answer:
        """Create it or replace it whole."""
        name = _name(call)
        self._require_free(name)
        old = await self._specs.present(self._key(name))
        return await self._write(call, name, old, call.body)

    async def patch(self, call: Call) -> Answer:
        """Merge into what is there."""
        name = _name(call)
        self._require_free(name)
        old = await self._stored(name)
        return await self._write(call, name, old, merged(old.value.arm, call.body))

    async def delete(self, call: Call) -> Answer:
        name = _name(call)
        self._require_free(name)
        old = await self._specs.present(self._key(name))
        if old is None:
            return Answer(status=204)
        try:
            await self._specs.delete(old)
        except RevisionConflict:
            raise ChangedMeanwhile(self._id(name)) from None
        audit(call, "delete", self._id(name), old.revision)
        return Answer(status=200)

    async def list_nodes(self, call: Call) -> Answer:
        """Of a compute: none, for it is kept as it was described and no machine stands behind."""
        await self.known(_name(call))
        return Answer(body={"nodes": [], "nextLink": None})

    async def known(self, name: str) -> dict[str, Any]:
        """The resource. Raises NotFound."""
        if self._is_builtin(name):
            return self._builtin(name.lower())
        return self._body((await self._stored(name)).value)

    async def _stored(self, name: str) -> Stored[Spec]:
        stored = await self._specs.get(self._key(name))
        if stored is None:
            raise self._missing(name)
        return stored

    def _is_builtin(self, name: str) -> bool:
        return name.lower() in self._noun.builtin

    async def _write(
        self,
        call: Call,
        name: str,
        found: Stored[Spec] | Damaged | None,
        body: Mapping[str, Any],
    ) -> Answer:
        require_match(call, found)
        old = readable(found)
        given = without_warnings(object_at(body, "properties"))
        require_allowed(self._noun.schema, body)
        kept: dict[str, Any] = {"properties": self._noun.check(given)}
        if self._noun.is_tracked:
            kept |= {key: body[key] for key in TRACKED if isinstance(body.get(key), dict | str)}
        now = timestamp()
        spec = Spec(
            name=old.value.name if old else name,
            arm=kept,
            created_at=old.value.created_at if old else now,
            modified_at=now,
            created_by=old.value.created_by if old else call.principal.name,
        )
        try:
            stored = await self._specs.put(found, self._key(name), spec)
        except RevisionConflict:
            raise ChangedMeanwhile(self._id(name)) from None
        audit(call, "write", self._id(name), stored.revision)
        told = warnings_of(self._noun.schema, body, wire=True)
        return Answer(body=self._body(spec, told), status=200 if old else 201)

    def _require_free(self, name: str) -> None:
        if self._is_builtin(name):
            raise Conflict(
                f"{self._noun.one} {name!r} is built in and cannot be changed",
                target=name,
            )

    def _missing(self, name: str) -> NotFound:
        return NotFound(f"{self._noun.one} {name!r} does not exist", target=name)

    def _key(self, name: str) -> str:
        return catalog_key(self._noun.kind, name)

    def _id(self, name: str) -> str:
        return str(self._ids.workspace.child(self._noun.kind, name))

    def _builtin(self, name: str) -> dict[str, Any]:
        return self._resource(name, dict(self._noun.builtin[name]), {}, None)

    def _body(self, spec: Spec, told: Iterable[str] = ()) -> dict[str, Any]:
        """`told` are warnings of what is not kept."""
        body = self._resource(spec.name, spec.arm["properties"], spec.arm, system_data(spec))
        return {**body, "properties": with_warnings(body["properties"], told)}

    def _resource(
        self,
        name: str,
        properties: Mapping[str, Any],
        given: Mapping[str, Any],
        data: dict[str, Any] | None,
    ) -> dict[str, Any]:
        tracked: dict[str, Any] = {"systemData": data}
        if self._noun.is_tracked:
            tracked |= {"location": self._ids.location, "tags": given.get("tags") or {}}
            tracked["identity"] = given.get("identity")
        told = warnings_of_stored(self._noun.schema, {**given, "properties": properties})
        shown = with_warnings(self._noun.shown(dict(properties)), told)
        return arm.resource(self._ids.workspace.child(self._noun.kind, name), shown, **tracked)


def _name(call: Call) -> str:
    return check_asset_name(call.path["name"], kind="name")
