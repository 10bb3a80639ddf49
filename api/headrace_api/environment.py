"""The environment: YAML of azure_behaviour.md 1.7, ARM JSON of azure_rest.md 3.4."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from headrace_api.asset import Asset
from headrace_api.errors import InvalidInput
from headrace_api.resource import (
    Resource,
    Text,
    base_of,
    existing_path,
    keyed,
    lower_case,
)
from headrace_api.settings.assets import ENVIRONMENT
from headrace_api.settings.setting import Schema
from headrace_api.views import environment_view
from headrace_api.yaml_file import MAX_FILE_BYTES, parse_yaml, read_bounded

ANONYMOUS_NAME: Final = "CliV2AnonymousEnvironment"
DEFAULT_DOCKERFILE: Final = "Dockerfile"
_MISPLACED: Final = frozenset({"channels", "dependencies"})


def _conda_text(value: object, info: ValidationInfo) -> object:
    """A path or a block in YAML becomes the conda file's text; on the wire it is the text."""
    if isinstance(value, dict):
        return json.dumps(value, default=str)
    if not isinstance(value, str):
        return value
    text = value
    if base_of(info) is not None:
        path = Path(existing_path(value, info))
        data = read_bounded(path)
        if len(data) > MAX_FILE_BYTES:
            raise ValueError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
        text = data.decode()
    found = parse_yaml(text)
    if not isinstance(found.values.get("dependencies", []), list):
        raise ValueError("dependencies of a conda file must be a list")
    return text


class Route(Resource):
    """Where a server of the user's own answers."""

    port: Annotated[int, Field(ge=1, le=65_535)]
    path: Text

    @model_validator(mode="after")
    def _absolute(self) -> Self:
        if not self.path.startswith("/"):
            raise keyed("path", f"is {self.path!r}: it must begin with '/'")
        return self


class InferenceConfig(Resource):
    """Marks an image that brings its own server; all three routes are needed."""

    liveness_route: Route
    readiness_route: Route
    scoring_route: Route

    def to_arm(self) -> dict[str, Any]:
        return {
            "livenessRoute": self.liveness_route.model_dump(),
            "readinessRoute": self.readiness_route.model_dump(),
            "scoringRoute": self.scoring_route.model_dump(),
        }


class Build(Resource):
    """A folder with a Dockerfile."""

    path: Annotated[str, BeforeValidator(existing_path)]
    dockerfile_path: Text = DEFAULT_DOCKERFILE


class Environment(Asset):
    """What a model runs in: an image, a conda file, or both; `conda_file` holds its text."""

    SCHEMA: ClassVar[Schema | None] = ENVIRONMENT

    image: Text | None = None
    build: Build | None = None
    conda_file: Annotated[str, BeforeValidator(_conda_text)] | None = None
    os_type: Annotated[Literal["linux", "windows"], BeforeValidator(lower_case)] = "linux"
    inference_config: InferenceConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        if found := sorted(_MISPLACED & values.keys()):
            raise keyed(found[0], "belongs in conda_file, not in the environment")
        return values

    @model_validator(mode="after")
    def _check_sources(self) -> Self:
        if self.image and self.build:
            raise keyed("build", "cannot be combined with image; use one of them")
        if self.build and self.conda_file:
            raise keyed("conda_file", "can be used with image only, not with build")
        return self

    def to_arm(self, *, anonymous: bool = False) -> dict[str, Any]:
        """The body of a PUT of a version."""
        properties: dict[str, Any] = {
            "description": self.description,
            "tags": dict(self.tags),
            "properties": {},
            "image": self.image,
            "condaFile": self.conda_file,
            "osType": self.os_type.capitalize(),
            "isAnonymous": anonymous,
            "isArchived": False,
        }
        if self.build:
            properties["build"] = {
                "contextUri": self.build.path,
                "dockerfilePath": self.build.dockerfile_path,
            }
        if self.inference_config:
            properties["inferenceConfig"] = self.inference_config.to_arm()
        return {"properties": {key: one for key, one in properties.items() if one is not None}}

    def digest(self) -> str:
        """SHA-256 of the definition in hex: the version of an anonymous environment."""
        defined = self.model_dump(include={"image", "build", "conda_file", "inference_config"})
        return hashlib.sha256(json.dumps(defined, sort_keys=True).encode()).hexdigest()

    @classmethod
    def from_arm(cls, arm: Mapping[str, Any]) -> Self:
        """Read a version; fields it does not know are ignored. Raises InvalidInput."""
        return cls.from_values(environment_view(arm))

    def to_yaml(self) -> dict[str, Any]:
        """The YAML's shape; the conda file is written out as a block."""
        values = super().to_yaml()
        if self.conda_file is not None:
            values["conda_file"] = parse_yaml(self.conda_file).values
        return values


def validate_environment_arm(arm: Mapping[str, Any]) -> Environment:
    """Read the body of a PUT. Raises InvalidInput, also when it says nothing to build from."""
    environment = Environment.from_arm(arm)
    if not (environment.image or environment.build or environment.conda_file):
        raise InvalidInput("an environment needs an image, a build or a conda file", target="image")
    return environment
