"""The base of the typed resources: strict reading, and faults told with key, value and rule."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, ValidationInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from headrace_api.names import check_asset_name, check_endpoint_name
from headrace_api.settings.judge import refusals
from headrace_api.settings.setting import Fate, Schema
from headrace_api.yaml_file import Fault, InvalidResource, KeyPath, YamlFile, read_yaml, shown

MAX_TEXT_CHARS: Final = 8_192
MAX_ENTRIES: Final = 256  # tags, properties, variables
TAG_MARK: Final = "·"  # begins the tag of a union's branch, which is no key of the file
_RULES: Final = {
    "string_type": "text is allowed",
    "int_type": "a whole number is allowed",
    "int_from_float": "a whole number is allowed",
    "float_type": "a number is allowed",
    "bool_type": "true or false is allowed",
    "dict_type": "a block of keys and values is allowed",
    "model_type": "a block of keys and values is allowed",
    "model_attributes_type": "a block of keys and values is allowed",
    "list_type": "a list is allowed",
    "union_tag_not_found": "a reference, a path or a block is allowed",
    "finite_number": "a finite number is allowed",
}

R = TypeVar("R", bound="Resource")


class Resource(BaseModel):
    """Strict: no unknown key, no value of another type."""

    SCHEMA: ClassVar[Schema | None] = None
    """What becomes of its settings, where it has a file of its own."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def read_resource(cls: type[R], source: YamlFile, *, base: Path | None = None) -> R:
    """Validate; relative paths are resolved and must exist when `base` is given.

    With `base` the values are a user's, and settings that are refused here are faults; what was
    stored may hold them still. Raises InvalidResource with one line for each fault.
    """
    faults = refusals(cls.SCHEMA, source.values, wire=False) if base and cls.SCHEMA else []
    told = [one.key for one in faults]
    values = source.values
    for path in _unread(cls):
        values = _without(values, path)
    try:
        found = cls.model_validate(values, context={"base": base})
    except ValidationError as error:
        others = [_fault(cls, one) for one in error.errors(include_url=False)]
        faults += [one for one in others if not _is_within(one.key, told)]
        raise InvalidResource(source, faults) from None
    if faults:
        raise InvalidResource(source, faults)
    return found


def _is_within(key: KeyPath, told: list[KeyPath]) -> bool:
    return any(key[: len(one)] == one for one in told)


@cache
def _unread(cls: type[Resource]) -> tuple[KeyPath, ...]:
    """Where a file may hold what nothing reads: the table has it, and the class does not."""
    rows = cls.SCHEMA.settings if cls.SCHEMA else ()
    told = (one for one in rows if one.key and one.fate in (Fate.SHOWN, Fate.WARNED))
    paths = [tuple(one.key.split(".")) for one in told]
    return tuple(path for path in paths if path[-1] not in _fields_at(cls, path[:-1]))


def _without(values: dict[str, Any], path: KeyPath) -> dict[str, Any]:
    first, *rest = path
    if not isinstance(values, dict) or first not in values:
        return values
    if rest:
        return {**values, str(first): _without(values[str(first)], tuple(rest))}
    return {key: value for key, value in values.items() if key != first}


def with_overrides(source: YamlFile, overrides: Mapping[str, object]) -> YamlFile:
    """Set values by dotted path, as `--set a.b=1` and flags do; None is skipped.

    Raises InvalidInput when a path leads through something that is no block.
    """
    values = dict(source.values)
    given: set[KeyPath] = set()
    for path, value in overrides.items():
        if value is None:
            continue
        at = values
        *parents, last = path.split(".")
        for parent in parents:
            inner = at.get(parent)
            if inner is not None and not isinstance(inner, dict):
                raise InvalidResource(source, [Fault(key=tuple(parents), text="is not a block")])
            at[parent] = at = dict(inner or {})
        at[last] = value
        given.add((*parents, last))
    return replace(changed(source, values), of_options=source.of_options | given)


def changed(source: YamlFile, values: dict[str, Any]) -> YamlFile:
    """The file with other values; what did not come from the file has no line in it."""
    lines = {
        key: line for key, line in source.lines.items() if _same_at(key, source.values, values)
    }
    return replace(source, values=values, lines=lines)


def _same_at(key: KeyPath, one: Any, other: Any) -> bool:
    for part in key:
        try:
            one, other = one[part], other[part]
        except (KeyError, IndexError, TypeError):
            return False
    return bool(one == other)


class FileResource(Resource):
    """A resource that has a YAML file of its own."""

    @classmethod
    def from_yaml(cls, path: Path, overrides: Mapping[str, object] | None = None) -> Self:
        """Read a file; overrides are values by dotted path. Raises InvalidInput."""
        source = with_overrides(read_yaml(path), overrides or {})
        return read_resource(cls, source, base=path.absolute().parent)

    @classmethod
    def from_values(cls, values: Mapping[str, object], *, base: Path | None = None) -> Self:
        """Validate values in the YAML's shape. Raises InvalidInput."""
        return read_resource(cls, YamlFile(values=dict(values)), base=base)

    def to_yaml(self) -> dict[str, Any]:
        """The YAML's shape, without what is empty."""
        values: dict[str, Any] = _without_empty(self, self.model_dump(mode="json"))
        return values


def keyed(key: str, text: str) -> PydanticCustomError:
    """A fault found by a check of the whole block, told at one of its keys."""
    return PydanticCustomError("headrace", "{text}", {"key": key, "text": text})


def base_of(info: ValidationInfo) -> Path | None:
    """The folder of the YAML file, or None when the values came over the wire."""
    context = info.context
    return context.get("base") if isinstance(context, dict) else None


def existing_path(text: str, info: ValidationInfo) -> str:
    """Resolve against the YAML file; ValueError when nothing is there. Wire values pass as is."""
    base = base_of(info)
    if base is None or not isinstance(text, str):
        return text
    try:
        path = (base / Path(text.removeprefix("file:")).expanduser()).absolute()
    except RuntimeError as error:  # "~somebody" whom this machine does not know
        raise ValueError(f"{text}: {error}") from error
    if not os.path.exists(path):  # Path.exists raises for a name that is too long
        raise ValueError(f"no such file or folder: {path}")
    return str(path)


def _fault(cls: type[Resource], error: ErrorDetails) -> Fault:
    key: KeyPath = tuple(
        part for part in error["loc"] if not str(part).startswith(TAG_MARK) and part != "[key]"
    )
    found = shown(key, error["input"])
    context = error.get("ctx") or {}
    match error["type"]:
        case "headrace":
            return Fault(key=(*key, *filter(None, [context["key"]])), text=context["text"])
        case "missing":
            return Fault(key=key, text="is required")
        case "extra_forbidden":
            return Fault(key=key, text=_unknown(cls, key))
        case "literal_error":
            return Fault(key=key, text=f"is {found}: allowed are {context['expected']}")
        case "value_error" | "headrace_value":
            return Fault(key=key, text=f"is {found}: {context.get('error', error['msg'])}")
        case kind:
            return Fault(key=key, text=f"is {found}: {_RULES.get(kind) or _bound(error)}")


def _bound(error: ErrorDetails) -> str:
    signs = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    for name, words in signs.items():
        if name in (context := error.get("ctx") or {}):
            return f"{words} {context[name]} is allowed"
    return error["msg"]


def _unknown(cls: type[Resource], key: KeyPath) -> str:
    allowed = _fields_at(cls, key[:-1])
    near = difflib.get_close_matches(str(key[-1]), allowed, n=1)
    rest = f"did you mean {near[0]!r}?" if near else f"allowed are {', '.join(allowed)}"
    return f"is not a key of this block; {rest}" if allowed else "is not a key of this block"


def _fields_at(cls: type[Resource], key: KeyPath) -> list[str]:
    for part in key:
        field = cls.model_fields.get(str(part))
        inner = next(_resources(field.annotation), None) if field else None
        if inner is None:
            return []
        cls = inner
    return list(cls.model_fields)


def _resources(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, Resource):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _resources(inner)


def _without_empty(model: object, dumped: Any) -> Any:
    """The dump without fields that say nothing; maps of the user's own keep each of their entries.

    An empty value there has a meaning: `CUDA_VISIBLE_DEVICES: ""` hides all GPUs.
    """
    if isinstance(model, Resource):
        inner = {key: _without_empty(getattr(model, key), value) for key, value in dumped.items()}
        return {key: value for key, value in inner.items() if value not in ({}, [], None, "")}
    if isinstance(model, list):
        return [_without_empty(*pair) for pair in zip(model, dumped, strict=True)]
    if isinstance(model, dict):
        return {key: _without_empty(model.get(key), value) for key, value in dumped.items()}
    return int(dumped) if isinstance(dumped, float) and dumped.is_integer() else dumped


def _text_of_number(value: object) -> object:
    # Azure's files hold `version: 1` and `WORKER_COUNT: 4`; true and 1.10 are ambiguous.
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, bool | float):
        raise ValueError("text is allowed; put it in quotes")
    return value


def _bounded_text(value: object) -> object:
    value = _text_of_number(value)
    if isinstance(value, str) and len(value) > MAX_TEXT_CHARS:
        raise ValueError(f"at most {MAX_TEXT_CHARS} characters are allowed")
    return value


def _bounded_dict(value: object) -> object:
    if value is None:
        return {}
    if isinstance(value, dict) and len(value) > MAX_ENTRIES:
        raise ValueError(f"at most {MAX_ENTRIES} entries are allowed")
    return value


def _endpoint_name(value: object) -> object:
    return check_endpoint_name(value) if isinstance(value, str) else value


def _deployment_name(value: object) -> object:
    return check_endpoint_name(value, kind="deployment") if isinstance(value, str) else value


def _asset_name(value: object) -> object:
    return check_asset_name(value, kind="name") if isinstance(value, str) else value


def _asset_version(value: object) -> object:
    value = _text_of_number(value)
    return check_asset_name(value, kind="version") if isinstance(value, str) and value else value


def lower_case(value: object) -> object:
    """Azure's files and wire differ in case: Key, key; AMLToken, aml_token."""
    return value.lower() if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_bounded_text)]
TextDict = Annotated[dict[str, Text], BeforeValidator(_bounded_dict)]
EndpointName = Annotated[str, BeforeValidator(_endpoint_name)]
DeploymentName = Annotated[str, BeforeValidator(_deployment_name)]
AssetName = Annotated[str, BeforeValidator(_asset_name)]
AssetVersion = Annotated[str, BeforeValidator(_asset_version)]
