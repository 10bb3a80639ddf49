"""What a version may hold: bytes that are there and are kept, and nothing else than before."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from headrace_api.errors import Conflict, HeadraceError, InvalidInput
from headrace_services.control.assets.asset_type import AssetType
from headrace_state.blob_location import BlobLocation, located, same_place
from headrace_state.records import Spec

SPEC_WORDS: Final = ("description", "display_name", "tags", "_source")
"""Of a component's specification, what may change; the last says where its writer had it from."""


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
class ContentRules:
    """Of one kind of asset."""

    type: AssetType
    find: Callable[[str], Awaitable[Spec | None]]
    """A spec by its key."""
    has_bytes: Callable[[BlobLocation], Awaitable[bool]]
    is_condemned: Callable[[BlobLocation], Awaitable[bool]]
    """Whether a collection is about to delete what lies there."""

    async def require_bytes(self, properties: Mapping[str, Any]) -> None:
        """Raises InvalidInput when the bytes that the properties name are not there."""
        if not self.type.uri:
            return
        uri = properties.get(self.type.uri)
        if not isinstance(uri, str) or not uri:
            raise InvalidInput(f"{self.type.uri!r} is required", target=self.type.uri)
        if self.type.points_anywhere and not uri.startswith("azureml://"):
            return  # an address elsewhere is kept as it is; nothing of it is read here
        place = await located(uri, self.find)
        if not self.type.points_anywhere and not await self.has_bytes(place):
            raise InvalidInput(
                f"there is nothing at {uri!r}", hint="upload it first", target=self.type.uri
            )

    async def require_kept(self, spec: Spec) -> None:
        """Raises Conflict when the bytes are being collected."""
        uri = str(spec.arm["properties"].get(self.type.uri, ""))
        if not uri or (self.type.points_anywhere and not uri.startswith("azureml://")):
            return
        place = await located(uri, self.find)
        is_there = self.type.points_anywhere or await self.has_bytes(place)
        if await self.is_condemned(place) or not is_there:
            raise Conflict(
                f"the upload at {uri!r} is being garbage-collected",
                hint="upload it again",
                target=self.type.uri,
            )

    def require_same(self, old: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        """Raises UserError, VersionTaken when what never changes is another than in `old`."""
        for key in self.type.frozen:
            if not _is_same(key, old.get(key), given.get(key)):
                raise UserError(key) if key == self.type.uri else VersionTaken(key)


def _is_same(key: str, one: Any, other: Any) -> bool:
    if key == "componentSpec":
        one, other = (
            {name: of[name] for name in of if name not in SPEC_WORDS} for of in (one, other)
        )
    if key.endswith("Uri") and isinstance(one, str) and isinstance(other, str):
        return same_place(one, other)
    return (one or None) == (other or None)
