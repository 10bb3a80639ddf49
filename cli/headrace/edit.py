"""`--set`, `--add`, `--remove` and `--force-string`: editing a resource in its YAML's shape."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from headrace.call import Call
from headrace.errors import BadUsage
from headrace.options import GROUP_SEPARATOR

if TYPE_CHECKING:
    from headrace_api.resource import FileResource
    from headrace_api.yaml_file import YamlFile

F = TypeVar("F", bound="FileResource")

_TEXT_MAPS: Final = frozenset({"tags", "properties", "environment_variables"})
_TEXT_FIELDS: Final = frozenset(
    {"description", "display_name", "image", "instance_type", "name", "path", "stage", "version"}
)
_PART: Final = re.compile(r"([^.\[\]]+)|\[(\d{1,6})\]")


def edited(values: dict[str, Any], call: Call) -> dict[str, Any]:
    """A copy as JSON, with the generic options applied in the order set, add, remove.

    Raises BadUsage.
    """
    result = as_json(values)
    for text in call.many("set"):
        path, equals, value = text.partition("=")
        if not equals:
            raise BadUsage(f"--set {text!r}: use path.to.key=value")
        as_text = call.flag("force_string") or _is_text(path)
        _set(result, path, _value(value, as_text=as_text))
    for text in call.many("add"):
        _add(result, text.split(GROUP_SEPARATOR), as_text=call.flag("force_string"))
    for text in call.many("remove"):
        _remove(result, text.split(GROUP_SEPARATOR))
    return result


def as_json(values: dict[str, Any]) -> dict[str, Any]:
    """What YAML reads as a date is the text it was. Raises BadUsage for bytes."""
    result: dict[str, Any] = json.loads(json.dumps(values, default=_text_of))
    return result


def _text_of(value: object) -> str:
    if isinstance(value, date):  # a datetime is one too
        return value.isoformat()
    raise BadUsage(f"a value of type {type(value).__name__} cannot be sent: use text")


def from_file(kind: type[F], call: Call, given: Mapping[str, object]) -> F:
    """The resource of --file, with the values of options and the generic options applied.

    Raises BadUsage, InvalidInput.
    """
    from headrace_api.resource import changed, with_overrides
    from headrace_api.yaml_file import read_yaml

    source = with_overrides(read_yaml(Path(call.text("file"))), given)
    if any(call.many(option) for option in ("set", "add", "remove")):
        source = changed(source, edited(source.values, call))
    return from_source(kind, call, source)


def from_source(kind: type[F], call: Call, source: YamlFile) -> F:
    """The resource that a file says; what of it does nothing here is warned of.

    Raises InvalidInput.
    """
    from headrace_api.resource import read_resource
    from headrace_api.settings.judge import warnings_of

    base = source.path.absolute().parent if source.path else Path.cwd()
    found = read_resource(kind, source, base=base)
    for line in warnings_of(kind.SCHEMA, source.values, wire=False) if kind.SCHEMA else ():
        call.warn(line)
    return found


def pairs(texts: tuple[str, ...], option: str) -> dict[str, str]:
    """`a=1 b=2`, in one text or several. Raises BadUsage."""
    found: dict[str, str] = {}
    for pair in " ".join(texts).split():
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise BadUsage(f"{option} {pair!r}: use name=value, as in blue=90")
        found[key] = value
    return found


def _is_text(path: str) -> bool:
    """Whether the place holds text, so that `tags.sha=7e12345` stays as it was typed."""
    parts = _parts(path)
    return (len(parts) > 1 and parts[-2] in _TEXT_MAPS) or parts[-1] in _TEXT_FIELDS


def _value(text: str, *, as_text: bool) -> Any:
    if as_text:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _parts(path: str) -> list[str | int]:
    found = [name or int(index) for name, index in _PART.findall(path)]
    if not found:
        raise BadUsage(f"{path!r} is not a path such as request_settings.request_timeout_ms")
    return found


def _walk(values: Any, parts: list[str | int], path: str) -> Any:
    for part in parts:
        if isinstance(part, str) and isinstance(values, dict):
            values = values.setdefault(part, {})
        elif isinstance(part, int) and isinstance(values, list) and part < len(values):
            values = values[part]
        else:
            raise BadUsage(f"{path!r} does not exist: there is no {part!r}")
    return values


def _set(values: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = _parts(path)
    at = _walk(values, parents, path)
    fits = isinstance(last, str) if isinstance(at, dict) else _is_index(at, last)
    if not fits:
        raise BadUsage(f"--set {path!r} does not exist: there is no {last!r}")
    at[last] = value


def _is_index(values: object, part: str | int) -> bool:
    return isinstance(values, list) and isinstance(part, int) and part < len(values)


def _add(values: dict[str, Any], words: list[str], *, as_text: bool) -> None:
    path, *given = words
    if not given:
        raise BadUsage(f"--add {path!r}: no value given")
    *parents, last = _parts(path)
    above = _walk(values, parents, path)
    at = above.get(last) if isinstance(above, dict) else above[last]
    if isinstance(at, list):
        at += [_value(text, as_text=as_text) for text in given]
    elif at is None or isinstance(at, dict):
        # Tags and variables are text, so that --add tags count=1 does what it says.
        above[last] = (at or {}) | pairs(tuple(given), "--add")
    else:
        raise BadUsage(f"--add {path!r}: it is neither a list nor a block")


def _remove(values: dict[str, Any], words: list[str]) -> None:
    path, *indexes = words
    parts = _parts(path)
    parts += [int(one) for one in indexes if one.isdigit()]
    *parents, last = parts
    at = _walk(values, parents, path)
    try:
        del at[last]
    except (KeyError, IndexError, TypeError):
        raise BadUsage(f"--remove {path!r}: there is no {last!r}") from None
