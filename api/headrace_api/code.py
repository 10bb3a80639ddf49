"""A folder of scoring code: which script of it runs, and its ARM JSON (azure_rest.md 3.3)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Self

from pydantic import ValidationInfo, field_validator, model_validator

from headrace_api.errors import InvalidInput
from headrace_api.model import LocalTree
from headrace_api.references import is_reference
from headrace_api.resource import Resource, Text, base_of, keyed


def check_script_path(script: str) -> str:
    """The path without `./` and doubled slashes; ValueError when it leaves the code folder."""
    parts = PurePosixPath(script)
    if not parts.parts or parts.is_absolute() or ".." in parts.parts or "\\" in script:
        raise ValueError("a path inside the code folder is allowed, with '/' and without '..'")
    return str(parts)


class CodeConfiguration(Resource):
    """`code` is a folder or a reference to registered code; `scoring_script` lies inside."""

    code: LocalTree | None = None
    scoring_script: Text | None = None

    @field_validator("scoring_script")
    @classmethod
    def _inside(cls, script: str | None) -> str | None:
        return None if script is None else check_script_path(script)

    @model_validator(mode="after")
    def _exists(self, info: ValidationInfo) -> Self:
        if bool(self.code) != bool(self.scoring_script):
            missing = "scoring_script" if self.code else "code"
            raise keyed(missing, "is required: code and scoring_script go together")
        if base_of(info) is None or not self.is_local:
            return self
        folder = Path(str(self.code))
        if not os.path.isdir(folder):  # Path.is_dir raises for a name that is too long
            raise keyed("code", f"is {self.code!r}: a folder is allowed")
        if not os.path.isfile(folder / str(self.scoring_script)):
            raise keyed("scoring_script", f"is {self.scoring_script!r}: no such file in {folder}")
        return self

    @property
    def is_local(self) -> bool:
        """Whether the folder has to be uploaded."""
        return bool(self.code) and not is_reference(str(self.code))


def code_arm(code_uri: str, sha256: str) -> dict[str, Any]:
    """The body of a PUT of an anonymous code version."""
    return {
        "properties": {
            "codeUri": code_uri,
            "isAnonymous": True,
            "properties": {"hash_sha256": sha256, "hash_version": "202208"},
        }
    }


def validate_code_arm(arm: Mapping[str, Any]) -> str:
    """The codeUri of a PUT. Raises InvalidInput when there is none."""
    properties = arm.get("properties")
    uri = properties.get("codeUri") if isinstance(properties, Mapping) else None
    if not isinstance(uri, str) or not uri:
        raise InvalidInput("codeUri is required", target="codeUri")
    return uri
