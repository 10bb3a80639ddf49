"""YAML files from users: bounded, without code, and with the line of every key for messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from headrace_api.errors import InvalidInput

MAX_FILE_BYTES: Final = 1024 * 1024
MAX_NODES: Final = 20_000  # after every alias is written out
MAX_DEPTH: Final = 40  # levels
_SHOWN_CHARS: Final = 80
_SECRET_KEYS: Final = frozenset({"environment_variables", "keys"})

KeyPath = tuple[str | int, ...]
_INT: Final = "tag:yaml.org,2002:int"
_NOT_DECIMAL: Final = re.compile(r"[-+]?0[0-9_]+$|.*:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong in a file or a body."""

    key: KeyPath
    text: str
    """What was found and what is allowed, to stand after the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class YamlFile:
    """A mapping that was read, and where its keys stand."""

    path: Path | None = None
    """None when it came over the wire."""
    values: dict[str, Any]
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    of_options: frozenset[KeyPath] = frozenset()
    """Keys whose values an option gave in place of the file: no fault of theirs is the file's."""

    def describe(self, fault: Fault) -> str:
        """`blue.yml:7: instance_count is 'two': ...`."""
        place = ""
        if self.path is not None and not self._of_option(fault.key):
            line = self._line(fault.key)
            place = f"{self.path.name}:{line}: " if line else f"{self.path.name}: "
        key = key_text(fault.key)
        return f"{place}{key} {fault.text}" if key else f"{place}{fault.text}"

    def _of_option(self, key: KeyPath) -> bool:
        return any(key[: len(one)] == one for one in self.of_options)

    def _line(self, key: KeyPath) -> int:
        while key and key not in self.lines:
            key = key[:-1]
        return self.lines.get(key, 0)


class InvalidResource(InvalidInput):
    """Everything that is wrong with one file or body, one line a fault."""

    def __init__(self, source: YamlFile, faults: list[Fault]) -> None:
        super().__init__(
            "\n".join(source.describe(fault) for fault in faults), target=key_text(faults[0].key)
        )
        self.faults = faults


def key_text(key: KeyPath) -> str:
    """`collections.request.data[0]`."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def shown(key: KeyPath, value: object) -> str:
    """The value for a message: short, and never one that may be a secret."""
    if any(part in _SECRET_KEYS for part in key):
        return "(hidden)"
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"


def read_yaml(path: Path) -> YamlFile:
    """Read one mapping from a file.

    Raises InvalidInput naming file, line, key and value: missing file, more than MAX_FILE_BYTES,
    not UTF-8, tabs, tags that make objects, keys that are doubled or no text, aliases that grow.
    """
    return parse_yaml(read_bounded(path), path=path)


def read_bounded(path: Path) -> bytes:
    """At most one byte more than is allowed, also of a device. Raises InvalidInput."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InvalidInput(
            f"cannot read {path}: {error.strerror or error}", target=str(path)
        ) from error


def parse_yaml(data: bytes | str, *, path: Path | None = None) -> YamlFile:
    """As read_yaml, for text that is already here."""
    name = path.name if path else "the text"
    raw = data.encode() if isinstance(data, str) else data
    if len(raw) > MAX_FILE_BYTES:
        raise InvalidInput(f"{name} is larger than {MAX_FILE_BYTES} bytes", target=name)
    try:
        root = yaml.compose(raw.decode("utf-8"), Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{name} is not UTF-8 text: {error.reason}", target=name) from error
    except RecursionError as error:
        raise InvalidInput(f"{name} is nested deeper than {MAX_DEPTH} levels") from error
    # "\U00110000" is no character for `chr`, "\U80000000" not even a C int
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise InvalidInput(_syntax_text(name, error), target=name) from error
    if root is None:
        raise InvalidInput(f"{name} is empty", target=name)
    return _Reader(name, path).read(root)


def _syntax_text(name: str, error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    line = f":{mark.line + 1}" if mark is not None else ""
    problem = str(getattr(error, "problem", None) or error)
    if "\\t" in problem or "'\t'" in problem:
        return f"{name}{line}: a tab is not allowed in the indentation of YAML; use spaces"
    return f"{name}{line}: not valid YAML: {problem}"


class _Reader:
    """Builds the values of one document and remembers lines."""

    def __init__(self, name: str, path: Path | None) -> None:
        self._name = name
        self._path = path
        self._nodes = 0
        self._lines: dict[KeyPath, int] = {}
        self._scalars = yaml.constructor.SafeConstructor()

    def read(self, root: yaml.Node) -> YamlFile:
        if not isinstance(root, yaml.MappingNode):
            raise self._error(root, "must hold keys and values at its top level")
        values = self._value(root, (), ())
        return YamlFile(path=self._path, values=values, lines=self._lines)

    def _value(self, node: yaml.Node, key: KeyPath, above: tuple[int, ...]) -> Any:
        self._nodes += 1
        if id(node) in above:
            raise self._error(node, f"{key_text(key)} contains itself through an alias")
        if self._nodes > MAX_NODES:
            raise self._error(node, f"expands to more than {MAX_NODES} values through its aliases")
        if len(above) >= MAX_DEPTH:
            raise self._error(node, f"is nested deeper than {MAX_DEPTH} levels")
        below = (*above, id(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, key, below)
        if isinstance(node, yaml.SequenceNode):
            self._plain_tag(node, "tag:yaml.org,2002:seq")
            return [self._value(one, (*key, at), below) for at, one in enumerate(node.value)]
        return self._scalar(node, key)

    def _mapping(
        self, node: yaml.MappingNode, key: KeyPath, below: tuple[int, ...]
    ) -> dict[str, Any]:
        self._plain_tag(node, "tag:yaml.org,2002:map")
        values: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                merged |= self._merge(value_node, key, below)
                continue
            name = self._key(key_node, key)
            if name in values:
                raise self._error(key_node, f"the key {name!r} is given twice")
            self._lines[(*key, name)] = key_node.start_mark.line + 1
            values[name] = self._value(value_node, (*key, name), below)
        return merged | values

    def _merge(self, node: yaml.Node, key: KeyPath, below: tuple[int, ...]) -> dict[str, Any]:
        found = self._value(node, key, below)
        blocks = found if isinstance(found, list) else [found]
        if not all(isinstance(block, dict) for block in blocks):
            raise self._error(node, "'<<' merges mappings only")
        merged: dict[str, Any] = {}
        for block in reversed(blocks):
            merged |= block
        return merged

    def _key(self, node: yaml.Node, key: KeyPath) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self._error(node, "a key must be text, found a list or a block")
        value = self._scalar(node, key)
        if not isinstance(value, str):
            raise self._error(node, f"a key must be text, found {shown(key, node.value)}")
        return value

    def _scalar(self, node: yaml.Node, key: KeyPath) -> Any:
        try:
            if node.tag == _INT and _NOT_DECIMAL.match(node.value):
                return node.value  # 010 is 8 to YAML and 010 to whoever wrote it
            value = self._scalars.construct_object(node)
            if isinstance(value, str):
                value.encode()  # "\ud800" is half a character, and no text that can be sent
            return value
        # PyYAML's constructors trip over a value their tag does not fit: `!!bool 2` is a KeyError.
        except (yaml.YAMLError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            problem = (
                f"the tag or value is not allowed ({node.tag.removeprefix('tag:yaml.org,2002:')})"
            )
            raise self._error(node, f"{key_text(key)}: {problem}".lstrip(": ")) from error

    def _plain_tag(self, node: yaml.Node, tag: str) -> None:
        if node.tag != tag:
            raise self._error(node, f"the tag {node.tag!r} is not allowed")

    def _error(self, node: yaml.Node, text: str) -> InvalidInput:
        return InvalidInput(f"{self._name}:{node.start_mark.line + 1}: {text}", target=self._name)
