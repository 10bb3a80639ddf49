"""What a version of a model, of an environment and of data has in common in YAML."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, model_validator

from headrace_api.resource import AssetName, AssetVersion, FileResource, Text, TextDict


class Asset(FileResource):
    """Named and versioned; what `show` prints beside is read over, so that it can be given back."""

    READ_ONLY: ClassVar[tuple[str, ...]] = (
        "id",
        "latest_version",
        "is_archived",
        "creation_context",
    )

    name: AssetName | None = None
    version: AssetVersion | None = None
    description: Text | None = None
    tags: TextDict = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _drop_read_only(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {key: value for key, value in values.items() if key not in cls.READ_ONLY}
