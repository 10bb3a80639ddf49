"""The data asset: YAML of azure_behaviour.md 1.12, ARM JSON of azure_rest.md 3.4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import BeforeValidator, Field

from headrace_api.asset import Asset
from headrace_api.errors import InvalidInput
from headrace_api.model import LocalTree
from headrace_api.references import parse_path
from headrace_api.resource import TextDict, lower_case
from headrace_api.settings.assets import DATA
from headrace_api.settings.setting import Schema
from headrace_api.views import data_view

_REMOTE: Final = ("azureml:", "https://", "http://", "wasbs://", "abfss://", "adl://")


class Data(Asset):
    """A file, a folder or a table by name and version."""

    SCHEMA: ClassVar[Schema | None] = DATA

    properties: TextDict = Field(default_factory=dict)
    path: LocalTree | None = None
    type: Annotated[Literal["uri_folder", "uri_file", "mltable"], BeforeValidator(lower_case)] = (
        "uri_folder"
    )

    @property
    def is_local(self) -> bool:
        """Whether the path has to be uploaded."""
        return bool(self.path) and not str(self.path).lower().startswith(_REMOTE)

    def to_arm(self, *, uri: str = "") -> dict[str, Any]:
        """The body of a PUT of a version; `uri` replaces a local path after its upload."""
        properties = {
            "description": self.description,
            "tags": dict(self.tags),
            "properties": dict(self.properties),
            "dataType": self.type,
            "dataUri": uri or self.path,
            "isAnonymous": False,
            "isArchived": False,
        }
        return {"properties": {key: one for key, one in properties.items() if one is not None}}

    @classmethod
    def from_arm(cls, arm: Mapping[str, Any]) -> Self:
        """Read a version; fields it does not know are ignored. Raises InvalidInput."""
        return cls.from_values(data_view(arm))


def validate_data_arm(arm: Mapping[str, Any]) -> Data:
    """Read the body of a PUT. Raises InvalidInput, also when dataUri is no address."""
    data = Data.from_arm(arm)
    if not data.path:
        raise InvalidInput("dataUri is required", target="dataUri")
    if data.is_local:
        raise InvalidInput(
            f"dataUri {data.path[:200]!r} is not an address: use "
            "azureml://datastores/<name>/paths/<path> or a URL",
            target="dataUri",
        )
    if data.path.lower().startswith("azureml:"):
        parse_path(data.path)
    return data
