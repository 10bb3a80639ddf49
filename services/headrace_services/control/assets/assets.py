"""Assets of all kinds: versions, their containers, latest by creation, archive."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from headrace_api import arm
from headrace_api.errors import Conflict, HeadraceError, InvalidInput, NotFound
from headrace_api.names import check_asset_name, token
from headrace_bus.errors import RevisionConflict
from headrace_services.control.arm.ids import ArmIds
from headrace_services.control.arm.paging import paged
from headrace_services.control.arm.request import Answer, Call, object_at
from headrace_services.control.assets.anonymous import renewed
from headrace_services.control.assets.bodies import (
    clean_properties_of,
    hash_of,
    is_anonymous,
    next_version,
    system_data,
    view_of,
)
from headrace_services.control.resources.change_log import audit
from headrace_services.control.resources.writes import ChangedMeanwhile, require_match
from headrace_state.blob_location import BlobLocation, located, same_place
from headrace_state.records import Spec, asset_key
from headrace_state.repository import (
    Damaged,
    Entry,
    Repository,
    Shelved,
    Stored,
    etag_of,
    readable,
)
from headrace_telemetry.clock import timestamp

STAND_IN_VERSION: Final = "1"
NEWEST_FIRST: Final = ("", "createdtime desc", "createdat desc")
SPEC_WORDS: Final = ("description", "display_name", "tags", "_source")
"""Of a component's specification, what may change; the last says where its writer had it from."""
OLDEST_FIRST: Final = ("createdtime", "createdtime asc", "createdat asc", "createdat")


class UserError(HeadraceError, ValueError):
    """What Azure answers when an asset's bytes would change under its version."""

    code: ClassVar[str] = "UserError"
    status: ClassVar[int] = 400

    def __init__(self, key: str) -> None:
        super().__init__(
            "Asset paths cannot be updated.",  # the stock client looks for this text
            hint="create a new version",
            target=f"properties.{key}",
        )


class VersionTaken(Conflict):
    """A definition would change under its version.

    For an environment without a version the stock client asks the latest to be this one, and makes
    the next on a 409 alone.
    """

    def __init__(self, key: str) -> None:
        super().__init__(
            f"{key!r} of an existing version cannot be changed",
            hint="create a new version",
            target=f"properties.{key}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetType:
    """One kind of asset, as the wire has it."""

    kind: str
    """Segment of the path, and of the key."""
    frozen: tuple[str, ...]
    """Properties that never change once a version exists."""
    uri: str = ""
    """The property that says where the bytes are; empty when the version holds all itself."""
    points_anywhere: bool = False
    """Whether the address may be empty yet, or lie outside of this installation."""
    newest_in_container: tuple[str, ...] = ()
    """Properties that the container shows of its newest version."""
    check: Callable[[Mapping[str, Any]], object] = lambda _: None
    """Raises InvalidInput on properties that cannot be right; takes the whole ARM body."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    complete: Callable[[dict[str, Any], str, str], dict[str, Any]] = lambda given, *_: given
    """Adds to the properties what name and version, given here, say of them."""
    is_stand_in: Callable[[str], bool] = lambda _: False
    """Whether a name belongs to a registry of Azure's."""
    stand_in: Callable[[str], dict[str, Any]] = lambda _: {}
    """The properties that stand in for it. Raises NotFound."""


class Assets:
    """Handlers of one kind of asset."""

    def __init__(
        self,
        kind: AssetType,
        specs: Repository[Spec],
        ids: ArmIds,
        has_bytes: Callable[[BlobLocation], Awaitable[bool]],
        is_condemned: Callable[[BlobLocation], Awaitable[bool]],
    ) -> None:
        self._type = kind
        self._specs = specs
        self._ids = ids
        self._has_bytes = has_bytes
        self._is_condemned = is_condemned

    async def put_version(self, call: Call) -> Answer:
        """Create a version, or change what may change of it: words, tags, archived."""
        name, version = self._named(call)
        given = await self._checked(call, name, version)
        key = asset_key(self._type.kind, name, version)
        found = await self._specs.present(key)
        require_match(call, found)
        old = readable(found)
        if old is not None:
            self._require_same_contents(old.value, given)
            await self._require_kept(old.value)
        now = timestamp()
        spec = Spec(
            name=name,
            arm={"properties": given, "version": version},
            created_at=old.value.created_at if old else now,
            modified_at=now,
            created_by=old.value.created_by if old else call.principal.name,
        )
        stored = await self._put(found, key, spec)
        if old is None:
            try:
                await self._require_kept(stored.value)
            except Conflict:
                await self._drop(stored, name)
                raise
        audit(call, "write", self._id(stored.value), stored.revision)
        return Answer(body=self._version_body(stored.value), status=200 if old else 201)

    async def provide(self, name: str, version: str) -> Spec:
        """A version that stands in for one of a registry's, written when it is first named.

        Raises NotFound for a name that the table of stand-ins does not have.
        """
        key = asset_key(self._type.kind, name, version)
        if (found := readable(await self._specs.present(key))) is not None:
            return found.value
        now = timestamp()
        arm_body = {"properties": self._type.stand_in(name), "version": version}
        spec = Spec(name=name, arm=arm_body, created_at=now, modified_at=now)
        with suppress(RevisionConflict):  # somebody else named it at the same moment
            await self._specs.claim(key, spec)
        return spec

    async def get_version(self, call: Call) -> Answer:
        stored = await self._known(call)
        return Answer(body=self._version_body(stored.value), headers=stored.etag)

    async def delete_version(self, call: Call) -> Answer:
        """The bytes stay: other assets may share them, and running instances have their own."""
        name, version = self._named(call)
        stored = await self._specs.present(asset_key(self._type.kind, name, version))
        if stored is None:
            return Answer(status=204)
        await self._drop(stored, name)
        identity = self._ids.version(self._type.kind, name, version)
        audit(call, "delete", str(identity), stored.revision)
        return Answer(status=200)

    async def delete_container(self, call: Call) -> Answer:
        """All versions of a name; 204 when there was none."""
        name = check_asset_name(call.path["name"], kind="name")
        found = await self._specs.look(self._version_prefix(name))
        container = await self._specs.present(self._container_key(name))
        entries: list[Entry] = [*found.whole, *found.damaged, *([container] if container else [])]
        for entry in entries:
            await self._drop(entry, name)
        audit(call, "delete", str(self._ids.container(self._type.kind, name)), 0)
        return Answer(status=200 if entries else 204)

    async def list_versions(self, call: Call) -> Answer:
        """Newest creation first (azure_rest.md 6.11); a `hash` looks through all names."""
        is_shown = view_of(call)
        wanted = call.query.get("hash", "")
        if wanted:
            found = await self._of_hash(wanted)
        else:
            name = check_asset_name(call.path["name"], kind="name")
            if self._type.is_stand_in(name):
                await self.provide(name, STAND_IN_VERSION)
            found = await self._versions(name)
        shown = [one for one in found if is_shown(one.arm["properties"])]
        if _is_oldest_first(call):
            shown.reverse()
        return paged(call, self._ids.control_url, [self._version_body(one) for one in shown])

    async def _of_hash(self, wanted: str) -> list[Spec]:
        """Newest first. Who asks by hash is about to refer to what is told."""
        stored = [one for one in (await self._look()).whole if hash_of(one.value) == wanted]
        return [one for each in stored if (one := await renewed(self._specs, each)) is not None]

    async def list_containers(self, call: Call) -> Answer:
        is_shown = view_of(call)
        by_name: dict[str, list[Spec]] = defaultdict(list)
        found = await self._look()
        for one in found.whole:
            by_name[one.value.name].append(one.value)
        archived = {
            one.value.name: one.value for one in await self._specs.list(self._container_prefix)
        }
        names = [name for name, specs in by_name.items() if not is_anonymous(specs[0])]
        bodies = [
            self._container_body(name, by_name[name], archived.get(name), found.damaged)
            for name in sorted(names)
        ]
        shown = [body for body in bodies if is_shown(body["properties"])]
        return paged(call, self._ids.control_url, shown)

    async def get_container(self, call: Call) -> Answer:
        name = check_asset_name(call.path["name"], kind="name")
        found = await self._look(name)
        specs = [one.value for one in found.whole]
        container = await self._specs.get(self._container_key(name))
        if not specs and container is None:
            _require_whole(found)
            raise NotFound(f"{self._type.kind} has no {name!r}", target=name)
        own = container.value if container else None
        body = self._container_body(name, specs, own, found.damaged)
        return Answer(body=body, headers=etag_of(container))

    async def put_container(self, call: Call) -> Answer:
        """Words, tags and the archived mark of all versions together."""
        name = check_asset_name(call.path["name"], kind="name")
        properties = clean_properties_of(object_at(call.body, "properties"))
        key = self._container_key(name)
        before = await self._specs.present(key)
        require_match(call, before)
        old = readable(before)
        now = timestamp()
        spec = Spec(
            name=name,
            arm={"properties": properties},
            created_at=old.value.created_at if old else now,
            modified_at=now,
        )
        stored = await self._put(before, key, spec)
        audit(call, "write", str(self._ids.container(self._type.kind, name)), stored.revision)
        found = await self._look(name)
        specs = [one.value for one in found.whole]
        body = self._container_body(name, specs, spec, found.damaged)
        return Answer(body=body, status=200 if old or specs else 201)

    async def resolve(self, name: str, *, version: str = "", label: str = "") -> Spec:
        """The version a reference means.

        Raises NotFound, InvalidInput for an unknown label, UnreadableRecord for `latest` too while
        a version cannot be read: it may be the one that is meant.
        """
        if self._type.is_stand_in(name):
            return await self.provide(name, version or STAND_IN_VERSION)
        if version:
            stored = await self._specs.get(asset_key(self._type.kind, name, version))
            if stored is not None and (spec := await renewed(self._specs, stored)) is not None:
                return spec
            raise NotFound(f"{self._type.kind} has no {name!r} of version {version!r}", target=name)
        if label != "latest":
            raise InvalidInput(f"label {label!r} is not known: use 'latest'", target=name)
        found = await self._look(name)
        _require_whole(found)
        if not found.whole:
            raise NotFound(f"{self._type.kind} has no {name!r}", target=name)
        return found.whole[0].value

    @property
    def _container_prefix(self) -> str:
        return f"asset-container.{self._type.kind}."

    def _container_key(self, name: str) -> str:
        return self._container_prefix + token(name)

    def _version_prefix(self, name: str) -> str:
        return f"asset.{self._type.kind}." + (f"{token(name)}." if name else "")

    async def _put(self, old: Entry | None, key: str, spec: Spec) -> Stored[Spec]:
        try:
            return await self._specs.put(old, key, spec)
        except RevisionConflict:
            raise ChangedMeanwhile(f"{self._type.kind} {spec.name!r}") from None

    async def _drop(self, entry: Entry, name: str) -> None:
        try:
            await self._specs.delete(entry)
        except RevisionConflict:
            raise ChangedMeanwhile(f"{self._type.kind} {name!r}") from None

    def _named(self, call: Call) -> tuple[str, str]:
        name = check_asset_name(call.path["name"], kind="name")
        return name, check_asset_name(call.path["version"], kind="version")

    def _id(self, spec: Spec) -> str:
        return str(self._ids.version(self._type.kind, spec.name, str(spec.arm["version"])))

    async def _known(self, call: Call) -> Stored[Spec]:
        name, version = self._named(call)
        if self._type.is_stand_in(name):
            await self.provide(name, version)
        stored = await self._specs.get(asset_key(self._type.kind, name, version))
        if stored is None:
            raise NotFound(f"{self._type.kind} has no {name!r} of version {version!r}", target=name)
        return stored

    async def _versions(self, name: str = "") -> list[Spec]:
        """All versions, or those of one name; newest creation first."""
        return [stored.value for stored in (await self._look(name)).whole]

    async def _look(self, name: str = "") -> Shelved[Spec]:
        """As `_versions`, and those that cannot be read."""
        found = await self._specs.look(self._version_prefix(name))
        found.whole.sort(key=lambda one: one.value.created_at, reverse=True)
        return found

    async def _checked(self, call: Call, name: str, version: str) -> dict[str, Any]:
        properties = clean_properties_of(object_at(call.body, "properties"))
        identity = str(self._ids.version(self._type.kind, name, version))
        self._type.check({"id": identity, "name": name, "properties": properties})
        if self._type.uri:
            await self._require_bytes(properties)
        return self._type.complete({**self._type.defaults, **properties}, name, version)

    async def _require_kept(self, spec: Spec) -> None:
        """Raises Conflict when the bytes are being collected."""
        uri = str(spec.arm["properties"].get(self._type.uri, ""))
        if not uri or (self._type.points_anywhere and not uri.startswith("azureml://")):
            return
        place = await located(uri, self._specs.find)
        is_there = self._type.points_anywhere or await self._has_bytes(place)
        if await self._is_condemned(place) or not is_there:
            raise Conflict(
                f"the upload at {uri!r} is being garbage-collected",
                hint="upload it again",
                target=self._type.uri,
            )

    async def _require_bytes(self, properties: Mapping[str, Any]) -> None:
        uri = properties.get(self._type.uri)
        if not isinstance(uri, str) or not uri:
            raise InvalidInput(f"{self._type.uri!r} is required", target=self._type.uri)
        if self._type.points_anywhere and not uri.startswith("azureml://"):
            return  # an address elsewhere is kept as it is; nothing of it is read here
        place = await located(uri, self._specs.find)
        if not self._type.points_anywhere and not await self._has_bytes(place):
            raise InvalidInput(
                f"there is nothing at {uri!r}", hint="upload it first", target=self._type.uri
            )

    def _require_same_contents(self, old: Spec, given: Mapping[str, Any]) -> None:
        before = self._properties(old)
        for key in self._type.frozen:
            if not _is_same(key, before.get(key), given.get(key)):
                raise UserError(key) if key == self._type.uri else VersionTaken(key)

    def _properties(self, spec: Spec) -> dict[str, Any]:
        """Those of a version, of one that was written before they were completed too."""
        return self._type.complete(spec.arm["properties"], spec.name, str(spec.arm["version"]))

    def _version_body(self, spec: Spec) -> dict[str, Any]:
        properties = {
            "description": None,
            "tags": {},
            "properties": {},
            "isAnonymous": False,
            "isArchived": False,
            **self._properties(spec),
            "provisioningState": "Succeeded",
        }
        identity = self._ids.version(self._type.kind, spec.name, str(spec.arm["version"]))
        return arm.resource(identity, properties, systemData=system_data(spec))

    def _container_body(
        self, name: str, specs: list[Spec], container: Spec | None, damaged: Iterable[Damaged]
    ) -> dict[str, Any]:
        """`damaged` versions, of other names too: nobody should be told to write over one."""
        own = container.arm["properties"] if container else {}
        newest_properties = specs[0].arm["properties"] if specs else {}
        shared = {key: newest_properties.get(key) for key in self._type.newest_in_container}
        properties = {
            "description": None,
            "tags": {},
            "properties": {},
            "isArchived": False,
            **shared,
            **own,
            "latestVersion": specs[0].arm["version"] if specs else None,
            "nextVersion": next_version(self._taken(name, specs, damaged)),
            "provisioningState": "Succeeded",
        }
        newest = specs[0] if specs else container
        data = system_data(newest) if newest else None
        return arm.resource(self._ids.container(self._type.kind, name), properties, systemData=data)

    def _taken(self, name: str, specs: Iterable[Spec], damaged: Iterable[Damaged]) -> list[str]:
        """Versions of a name, for the next number; the last word of a key is a number as it is."""
        prefix = self._version_prefix(name)
        lost = [one.key.removeprefix(prefix) for one in damaged if one.key.startswith(prefix)]
        return [*(str(spec.arm["version"]) for spec in specs), *lost]


def _require_whole(found: Shelved[Spec]) -> None:
    """Raises UnreadableRecord, of the last of those that cannot be read."""
    if found.damaged:
        raise found.damaged[-1].error


def _is_same(key: str, one: Any, other: Any) -> bool:
    if key == "componentSpec":
        one, other = (
            {name: of[name] for name in of if name not in SPEC_WORDS} for of in (one, other)
        )
    if key.endswith("Uri") and isinstance(one, str) and isinstance(other, str):
        return same_place(one, other)
    return (one or None) == (other or None)


def _is_oldest_first(call: Call) -> bool:
    """Raises InvalidInput on an order that is not by creation."""
    order = " ".join(call.query.get("$orderBy", "").lower().split())
    if order not in NEWEST_FIRST + OLDEST_FIRST:
        raise InvalidInput(
            f"$orderBy is {order[:40]!r}: use 'createdtime desc' or 'createdtime asc'",
            target="$orderBy",
        )
    return order in OLDEST_FIRST
