"""Models, environments and code: versions, their containers, latest by creation, archive."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from headrace_api import arm
from headrace_api.errors import HeadraceError, InvalidInput, NotFound
from headrace_api.names import check_asset_name, token
from headrace_api.views import clean_properties
from headrace_services.control.arm_call import Answer, Call, listing, object_at
from headrace_services.control.arm_ids import ArmIds
from headrace_services.control.audit import audit
from headrace_services.control.blob_location import BlobLocation, locate
from headrace_services.control.records import Spec, asset_key
from headrace_services.control.stored import Shelf, Stored
from headrace_telemetry.clock import timestamp

ARCHIVED: Final = {"activeonly": {False}, "archivedonly": {True}, "all": {False, True}}
MAX_TOP: Final = 10_000


class UserError(HeadraceError, ValueError):
    """What Azure answers when an asset's contents would change under its version."""

    code: ClassVar[str] = "UserError"
    status: ClassVar[int] = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetType:
    """One kind of asset, as the wire has it."""

    kind: str
    """Segment of the path, and of the key."""
    frozen: tuple[str, ...]
    """Properties that never change once a version exists."""
    uri: str = ""
    """The property that says where the bytes are; empty when the version holds all itself."""
    check: Callable[[Mapping[str, Any]], object] = lambda _: None
    """Raises InvalidInput on properties that cannot be right; takes the whole ARM body."""
    defaults: Mapping[str, Any] = field(default_factory=dict)


class Assets:
    """Handlers of one kind of asset."""

    def __init__(
        self,
        kind: AssetType,
        specs: Shelf[Spec],
        ids: ArmIds,
        has_bytes: Callable[[BlobLocation], Awaitable[bool]],
    ) -> None:
        self._type = kind
        self._specs = specs
        self._ids = ids
        self._has_bytes = has_bytes

    async def put_version(self, call: Call) -> Answer:
        """Create a version, or change what may change of it: words, tags, archived."""
        name, version = self._named(call)
        given = await self._checked(call, name, version)
        key = asset_key(self._type.kind, name, version)
        old = await self._specs.get(key)
        if old is not None:
            self._require_same_contents(old.value, given)
        now = timestamp()
        spec = Spec(
            name=name,
            arm={"properties": given, "version": version},
            created_at=old.value.created_at if old else now,
            modified_at=now,
            created_by=old.value.created_by if old else call.principal.name,
        )
        stored = await self._specs.put(old, key, spec)
        audit(call, "write", self._id(stored.value), stored.revision)
        return Answer(body=self._version_body(stored.value), status=200 if old else 201)

    async def get_version(self, call: Call) -> Answer:
        return Answer(body=self._version_body((await self._known(call)).value))

    async def delete_version(self, call: Call) -> Answer:
        """The bytes stay: other assets may share them, and running instances have their own."""
        name, version = self._named(call)
        stored = await self._specs.get(asset_key(self._type.kind, name, version))
        if stored is None:
            return Answer(status=204)
        await self._specs.delete(stored)
        audit(call, "delete", self._id(stored.value), stored.revision)
        return Answer(status=200)

    async def list_versions(self, call: Call) -> Answer:
        """Newest creation first (azure_rest.md 6.11); a `hash` looks through all names."""
        is_shown = _view(call)
        wanted = call.query.get("hash", "")
        if wanted:
            found = [one for one in await self._versions() if _hash(one) == wanted]
        else:
            found = await self._versions(check_asset_name(call.path["name"], kind="name"))
        shown = [one for one in found if is_shown(one.arm["properties"])]
        return listing([self._version_body(one) for one in shown[: _top(call)]])

    async def list_containers(self, call: Call) -> Answer:
        is_shown = _view(call)
        by_name: dict[str, list[Spec]] = defaultdict(list)
        for spec in await self._versions():
            by_name[spec.name].append(spec)
        archived = {
            one.value.name: one.value for one in await self._specs.list(self._container_prefix)
        }
        names = [name for name, specs in by_name.items() if not _is_anonymous(specs[0])]
        bodies = [
            self._container_body(name, by_name[name], archived.get(name)) for name in sorted(names)
        ]
        shown = [one for one in bodies if is_shown(one["properties"])]
        return listing(shown[: _top(call)])

    async def get_container(self, call: Call) -> Answer:
        name = check_asset_name(call.path["name"], kind="name")
        specs = await self._versions(name)
        container = await self._specs.get(self._container_key(name))
        if not specs and container is None:
            raise NotFound(f"{self._type.kind} has no {name!r}", target=name)
        return Answer(
            body=self._container_body(name, specs, container.value if container else None)
        )

    async def put_container(self, call: Call) -> Answer:
        """Words, tags and the archived mark of all versions together."""
        name = check_asset_name(call.path["name"], kind="name")
        properties = clean_properties_of(object_at(call.body, "properties"))
        key = self._container_key(name)
        old = await self._specs.get(key)
        now = timestamp()
        spec = Spec(
            name=name,
            arm={"properties": properties},
            created_at=old.value.created_at if old else now,
            modified_at=now,
        )
        stored = await self._specs.put(old, key, spec)
        audit(call, "write", str(self._ids.container(self._type.kind, name)), stored.revision)
        specs = await self._versions(name)
        body = self._container_body(name, specs, spec)
        return Answer(body=body, status=200 if old or specs else 201)

    async def resolve(self, name: str, *, version: str = "", label: str = "") -> Spec:
        """The version a reference means. Raises NotFound, InvalidInput for an unknown label."""
        if version:
            stored = await self._specs.get(asset_key(self._type.kind, name, version))
            if stored is not None:
                return stored.value
            raise NotFound(f"{self._type.kind} has no {name!r} of version {version!r}", target=name)
        if label != "latest":
            raise InvalidInput(f"label {label!r} is not known: use 'latest'", target=name)
        found = await self._versions(name)
        if not found:
            raise NotFound(f"{self._type.kind} has no {name!r}", target=name)
        return found[0]

    @property
    def _container_prefix(self) -> str:
        return f"asset-container.{self._type.kind}."

    def _container_key(self, name: str) -> str:
        return self._container_prefix + token(name)

    def _named(self, call: Call) -> tuple[str, str]:
        name = check_asset_name(call.path["name"], kind="name")
        return name, check_asset_name(call.path["version"], kind="version")

    def _id(self, spec: Spec) -> str:
        return str(self._ids.version(self._type.kind, spec.name, str(spec.arm["version"])))

    async def _known(self, call: Call) -> Stored[Spec]:
        name, version = self._named(call)
        stored = await self._specs.get(asset_key(self._type.kind, name, version))
        if stored is None:
            raise NotFound(f"{self._type.kind} has no {name!r} of version {version!r}", target=name)
        return stored

    async def _versions(self, name: str = "") -> list[Spec]:
        """All versions, or those of one name; newest creation first."""
        prefix = f"asset.{self._type.kind}." + (f"{token(name)}." if name else "")
        found = [stored.value for stored in await self._specs.list(prefix)]
        return sorted(found, key=lambda spec: spec.created_at, reverse=True)

    async def _checked(self, call: Call, name: str, version: str) -> dict[str, Any]:
        properties = clean_properties_of(object_at(call.body, "properties"))
        identity = str(self._ids.version(self._type.kind, name, version))
        self._type.check({"id": identity, "name": name, "properties": properties})
        if self._type.uri:
            await self._require_bytes(properties)
        return {**self._type.defaults, **properties}

    async def _require_bytes(self, properties: Mapping[str, Any]) -> None:
        uri = properties.get(self._type.uri)
        if not isinstance(uri, str) or not uri:
            raise InvalidInput(f"{self._type.uri!r} is required", target=self._type.uri)
        if not await self._has_bytes(locate(uri)):
            raise InvalidInput(
                f"there is nothing at {uri!r}", hint="upload it first", target=self._type.uri
            )

    def _require_same_contents(self, old: Spec, given: Mapping[str, Any]) -> None:
        before = old.arm["properties"]
        for key in self._type.frozen:
            if _comparable(key, before.get(key)) != _comparable(key, given.get(key)):
                raise UserError(
                    "Asset paths cannot be updated."
                    if key == self._type.uri
                    else f"{key!r} of an existing version cannot be changed",
                    hint="create a new version",
                    target=f"properties.{key}",
                )

    def _version_body(self, spec: Spec) -> dict[str, Any]:
        properties = {
            "description": None,
            "tags": {},
            "properties": {},
            "isAnonymous": False,
            "isArchived": False,
            **spec.arm["properties"],
            "provisioningState": "Succeeded",
        }
        identity = self._ids.version(self._type.kind, spec.name, str(spec.arm["version"]))
        return arm.resource(identity, properties, systemData=system_data(spec))

    def _container_body(
        self, name: str, specs: list[Spec], container: Spec | None
    ) -> dict[str, Any]:
        own = container.arm["properties"] if container else {}
        properties = {
            "description": None,
            "tags": {},
            "properties": {},
            "isArchived": False,
            **own,
            "latestVersion": specs[0].arm["version"] if specs else None,
            "nextVersion": _next_version(specs),
            "provisioningState": "Succeeded",
        }
        newest = specs[0] if specs else container
        data = system_data(newest) if newest else None
        return arm.resource(self._ids.container(self._type.kind, name), properties, systemData=data)


def clean_properties_of(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Properties without nulls, and `properties.properties` without what the SDK adds."""
    kept = {key: value for key, value in properties.items() if value is not None}
    kept.pop("provisioningState", None)
    if "properties" in kept:
        kept["properties"] = clean_properties(kept)
    return kept


def system_data(spec: Spec) -> dict[str, Any]:
    """Both times or nothing: the SDK formats both (azure_rest.md 2)."""
    return {
        "createdBy": spec.created_by,
        "createdByType": "User",
        "createdAt": spec.created_at,
        "lastModifiedBy": spec.created_by,
        "lastModifiedByType": "User",
        "lastModifiedAt": spec.modified_at,
    }


def _next_version(specs: Iterable[Spec]) -> str:
    numbers = [int(v) for v in (str(spec.arm["version"]) for spec in specs) if v.isdecimal()]
    return str(max(numbers, default=0) + 1)


def _comparable(key: str, value: Any) -> Any:
    if isinstance(value, str) and key.endswith("Uri"):
        return locate(value)
    return value or None


def _hash(spec: Spec) -> str:
    return str(spec.arm["properties"].get("properties", {}).get("hash_sha256", ""))


def _is_anonymous(spec: Spec) -> bool:
    return bool(spec.arm["properties"].get("isAnonymous"))


def _view(call: Call) -> Callable[[Mapping[str, Any]], bool]:
    """What `listViewType` lets through. Raises InvalidInput."""
    view = call.query.get("listViewType", "ActiveOnly")
    wanted = ARCHIVED.get(view.lower())
    if wanted is None:
        raise InvalidInput(
            f"listViewType is {view!r}: use ActiveOnly, ArchivedOnly or All", target="listViewType"
        )
    return lambda properties: bool(properties.get("isArchived")) in wanted


def _top(call: Call) -> int:
    text = call.query.get("$top", str(MAX_TOP))
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise InvalidInput(f"$top is {text!r}: use a whole number", target="$top")
    return min(int(text), MAX_TOP)
