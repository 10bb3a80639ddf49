"""What a version of a model, of an environment and of data has in common in YAML."""

from __future__ import annotations

from pydantic import Field

from headrace_api.resource import AssetName, AssetVersion, FileResource, Text, TextDict


class Asset(FileResource):
    """Named and versioned."""

    name: AssetName | None = None
    version: AssetVersion | None = None
    description: Text | None = None
    tags: TextDict = Field(default_factory=dict)
