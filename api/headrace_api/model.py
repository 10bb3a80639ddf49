"""The model: YAML of azure_behaviour.md 1.8, ARM JSON of azure_rest.md 3.4."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from headrace_api.asset import Asset
from headrace_api.errors import InvalidInput
from headrace_api.references import is_reference, parse_path
from headrace_api.resource import (
    Text,
    TextDict,
    base_of,
    existing_path,
    lower_case,
)
from headrace_api.settings.assets import MODEL
from headrace_api.settings.setting import Schema
from headrace_api.views import model_view

_REMOTE: Final = ("azureml:", "runs:/", "https://", "http://", "wasbs://")


def local_tree(text: str, info: ValidationInfo) -> str:
    """Resolve a local file or folder whose links stay inside; other addresses pass as they are.

    ValueError when it is missing or a link leaves the folder.
    """
    if is_reference(text) or text.lower().startswith(_REMOTE) or base_of(info) is None:
        return text
    path = existing_path(text, info)
    check_links_stay(Path(path))
    return path


def check_links_stay(folder: Path) -> None:
    """ValueError when a link below the folder points out of it, or cannot be followed."""
    if not folder.is_dir():
        return
    root = folder.resolve()
    for path in _links(folder):
        if not _target(path).is_relative_to(root):
            raise ValueError(f"{path} links to a place outside the folder: {os.readlink(path)}")


def _target(link: Path) -> Path:
    try:
        return Path(os.path.realpath(link, strict=True))
    except OSError as error:
        raise ValueError(f"{link} is a broken link: {error.strerror}") from error


def _links(folder: Path) -> Iterator[Path]:
    for above, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(above, name)
            if path.is_symlink():
                yield path


def _tree(value: object, info: ValidationInfo) -> object:
    return local_tree(value, info) if isinstance(value, str) else value


LocalTree = Annotated[str, BeforeValidator(_tree)]


class Model(Asset):
    """A file or folder by name and version."""

    SCHEMA: ClassVar[Schema | None] = MODEL

    properties: TextDict = Field(default_factory=dict)
    path: LocalTree | None = None
    type: Annotated[
        Literal["custom_model", "mlflow_model", "triton_model"], BeforeValidator(lower_case)
    ] = "custom_model"
    flavors: dict[str, Any] = Field(default_factory=dict)
    stage: Text | None = None
    job_name: Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _fill_flavors(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return values | {"flavors": values.get("flavors") or {}}

    @property
    def is_local(self) -> bool:
        """Whether the path has to be uploaded."""
        return bool(self.path) and not str(self.path).lower().startswith(_REMOTE)

    def to_arm(self, *, uri: str = "", anonymous: bool = False) -> dict[str, Any]:
        """The body of a PUT of a version; `uri` replaces a local path after its upload."""
        properties = {
            "description": self.description,
            "tags": dict(self.tags),
            "properties": dict(self.properties),
            "modelType": self.type,
            "modelUri": uri or self.path,
            "flavors": dict(self.flavors),
            "stage": self.stage,
            "jobName": self.job_name,
            "isAnonymous": anonymous,
            "isArchived": False,
        }
        return {"properties": {key: one for key, one in properties.items() if one is not None}}

    @classmethod
    def from_arm(cls, arm: Mapping[str, Any]) -> Self:
        """Read a version; fields it does not know are ignored. Raises InvalidInput."""
        return cls.from_values(model_view(arm))


def validate_model_arm(arm: Mapping[str, Any]) -> Model:
    """Read the body of a PUT. Raises InvalidInput, also when modelUri is no datastore path."""
    model = Model.from_arm(arm)
    if not model.path:
        raise InvalidInput("modelUri is required", target="modelUri")
    if not model.path.lower().startswith("azureml://"):
        raise InvalidInput(
            f"modelUri {model.path!r} is not supported yet: use a path in a datastore",
            target="modelUri",
        )
    parse_path(model.path)
    return model
