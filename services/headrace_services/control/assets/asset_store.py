"""The versions of one kind of asset as they are stored: found, written, dropped, resolved."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from headrace_api.errors import InvalidInput, NotFound
from headrace_api.names import token
from headrace_bus.errors import RevisionConflict
from headrace_services.control.assets.anonymous import renewed
from headrace_services.control.assets.asset_type import AssetType
from headrace_services.control.assets.bodies import hash_of
from headrace_services.control.resources.writes import ChangedMeanwhile
from headrace_state.records import Spec, asset_key
from headrace_state.repository import Entry, Repository, Shelved, Stored, readable
from headrace_telemetry.clock import timestamp

STAND_IN_VERSION: Final = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetStore:
    """Of one kind; `specs` holds those of all kinds."""

    type: AssetType
    specs: Repository[Spec]

    async def provide(self, name: str, version: str) -> Spec:
        """A version that stands in for one of a registry's, written when it is first named.

        Raises NotFound for a name that the table of stand-ins does not have.
        """
        key = self.version_key(name, version)
        if (found := readable(await self.specs.present(key))) is not None:
            return found.value
        now = timestamp()
        arm_body = {"properties": self.type.stand_in(name), "version": version}
        spec = Spec(name=name, arm=arm_body, created_at=now, modified_at=now)
        with suppress(RevisionConflict):  # somebody else named it at the same moment
            await self.specs.claim(key, spec)
        return spec

    async def resolve(self, name: str, *, version: str = "", label: str = "") -> Spec:
        """The version a reference means.

        Raises NotFound, InvalidInput for an unknown label, UnreadableRecord for `latest` too while
        a version cannot be read: it may be the one that is meant.
        """
        if self.type.is_stand_in(name):
            return await self.provide(name, version or STAND_IN_VERSION)
        if version:
            stored = await self.specs.get(self.version_key(name, version))
            if stored is not None and (spec := await renewed(self.specs, stored)) is not None:
                return spec
            raise NotFound(f"{self.type.kind} has no {name!r} of version {version!r}", target=name)
        if label != "latest":
            raise InvalidInput(f"label {label!r} is not known: use 'latest'", target=name)
        found = await self.look(name)
        require_whole(found)
        if not found.whole:
            raise NotFound(f"{self.type.kind} has no {name!r}", target=name)
        return found.whole[0].value

    async def known(self, name: str, version: str) -> Stored[Spec]:
        """Raises NotFound, UnreadableRecord."""
        if self.type.is_stand_in(name):
            await self.provide(name, version)
        stored = await self.specs.get(self.version_key(name, version))
        if stored is None:
            raise NotFound(f"{self.type.kind} has no {name!r} of version {version!r}", target=name)
        return stored

    async def versions(self, name: str) -> list[Spec]:
        """All versions of a name; newest creation first."""
        if self.type.is_stand_in(name):
            await self.provide(name, STAND_IN_VERSION)
        return [stored.value for stored in (await self.look(name)).whole]

    async def of_hash(self, wanted: str) -> list[Spec]:
        """Newest first. Who asks by hash is about to refer to what is told."""
        stored = [one for one in (await self.look()).whole if hash_of(one.value) == wanted]
        return [one for each in stored if (one := await renewed(self.specs, each)) is not None]

    async def look(self, name: str = "") -> Shelved[Spec]:
        """Versions of a name, or of all, newest first; and those that cannot be read."""
        found = await self.specs.look(self.version_prefix(name))
        found.whole.sort(key=lambda one: one.value.created_at, reverse=True)
        return found

    async def put(self, old: Entry | None, key: str, spec: Spec) -> Stored[Spec]:
        """Raises ChangedMeanwhile."""
        try:
            return await self.specs.put(old, key, spec)
        except RevisionConflict:
            raise ChangedMeanwhile(f"{self.type.kind} {spec.name!r}") from None

    async def drop(self, entry: Entry, name: str) -> None:
        """Raises ChangedMeanwhile."""
        try:
            await self.specs.delete(entry)
        except RevisionConflict:
            raise ChangedMeanwhile(f"{self.type.kind} {name!r}") from None

    def version_key(self, name: str, version: str) -> str:
        """Key of one version."""
        return asset_key(self.type.kind, name, version)

    def version_prefix(self, name: str) -> str:
        """Of the keys of a name's versions, or of all."""
        return f"asset.{self.type.kind}." + (f"{token(name)}." if name else "")

    def container_key(self, name: str) -> str:
        return self.container_prefix + token(name)

    @property
    def container_prefix(self) -> str:
        return f"asset-container.{self.type.kind}."


def require_whole(found: Shelved[Spec]) -> None:
    """Raises UnreadableRecord, of the last of those that cannot be read."""
    if found.damaged:
        raise found.damaged[-1].error
