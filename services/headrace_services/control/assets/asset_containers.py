"""Containers of assets, all versions of a name, on the wire: PUT, GET, list, DELETE."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from headrace_api.errors import NotFound
from headrace_api.names import check_asset_name
from headrace_services.control.arm.paging import paged
from headrace_services.control.arm.request import Answer, Call, object_at
from headrace_services.control.assets.asset_resources import AssetResources
from headrace_services.control.assets.asset_store import AssetStore, require_whole
from headrace_services.control.assets.bodies import clean_properties_of, is_anonymous, view_of
from headrace_services.control.resources.change_log import audit
from headrace_services.control.resources.writes import require_match
from headrace_state.records import Spec
from headrace_state.repository import Entry, etag_of, readable
from headrace_telemetry.clock import timestamp


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetContainers:
    """Handlers of the containers of one kind of asset."""

    store: AssetStore
    resources: AssetResources

    async def put(self, call: Call) -> Answer:
        """Words, tags and the archived mark of all versions together."""
        name = check_asset_name(call.path["name"], kind="name")
        properties = clean_properties_of(object_at(call.body, "properties"))
        key = self.store.container_key(name)
        before = await self.store.specs.present(key)
        require_match(call, before)
        old = readable(before)
        now = timestamp()
        spec = Spec(
            name=name,
            arm={"properties": properties},
            created_at=old.value.created_at if old else now,
            modified_at=now,
        )
        stored = await self.store.put(before, key, spec)
        audit(call, "write", self.resources.container_id(name), stored.revision)
        found = await self.store.look(name)
        specs = [one.value for one in found.whole]
        body = self.resources.container(name, specs, spec, found.damaged)
        return Answer(body=body, status=200 if old or specs else 201)

    async def get(self, call: Call) -> Answer:
        name = check_asset_name(call.path["name"], kind="name")
        found = await self.store.look(name)
        specs = [one.value for one in found.whole]
        container = await self.store.specs.get(self.store.container_key(name))
        if not specs and container is None:
            require_whole(found)
            raise NotFound(f"{self.store.type.kind} has no {name!r}", target=name)
        own = container.value if container else None
        body = self.resources.container(name, specs, own, found.damaged)
        return Answer(body=body, headers=etag_of(container))

    async def delete(self, call: Call) -> Answer:
        """All versions of a name; 204 when there was none."""
        name = check_asset_name(call.path["name"], kind="name")
        found = await self.store.specs.look(self.store.version_prefix(name))
        container = await self.store.specs.present(self.store.container_key(name))
        entries: list[Entry] = [*found.whole, *found.damaged, *([container] if container else [])]
        for entry in entries:
            await self.store.drop(entry, name)
        audit(call, "delete", self.resources.container_id(name), 0)
        return Answer(status=200 if entries else 204)

    async def list_all(self, call: Call) -> Answer:
        is_shown = view_of(call)
        by_name: dict[str, list[Spec]] = defaultdict(list)
        found = await self.store.look()
        for one in found.whole:
            by_name[one.value.name].append(one.value)
        stored = await self.store.specs.list(self.store.container_prefix)
        archived = {one.value.name: one.value for one in stored}
        names = [name for name, specs in by_name.items() if not is_anonymous(specs[0])]
        bodies = [
            self.resources.container(name, by_name[name], archived.get(name), found.damaged)
            for name in sorted(names)
        ]
        shown = [body for body in bodies if is_shown(body["properties"])]
        return paged(call, self.resources.ids.control_url, shown)
