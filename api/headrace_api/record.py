"""The one rule by which stored and sent records are read, at every depth.

A name that is not known is left out: while an installation is updated, processes of two versions
read one another's records, and after a downgrade the older one reads what the newer wrote. A value
of another type, or a missing one without a default, makes the whole record unreadable. Absent is
never the same as unreadable: whoever looks for a record decides about the first, and leaves the
second alone.

What JSON and msgpack give (maps, lists, text, numbers) becomes dataclasses, tuples, sets and
enumerations as the fields are declared.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import (
    Any,
    Final,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

_PLAIN: Final = (str, bytes, bool, int, NoneType)

Reader = Callable[[object, str], object]
"""A value and where it stands, for messages; raises Unreadable."""


D = TypeVar("D")


class Unreadable(ValueError):
    """A value that is not what its field is declared to hold; the message says where."""


def load(kind: type[D], found: object) -> D:
    """A record of that dataclass from what JSON or msgpack gave. Raises Unreadable."""
    hint: Any = kind
    record: Any = _reader(hint)(found, "")
    return record  # type: ignore[no-any-return]  # its reader makes it of `kind`


def load_json(kind: type[D], data: bytes | str) -> D:
    """A record from JSON. Raises Unreadable."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"it is not JSON: {error}") from error
    return load(kind, found)


@cache
def _reader(hint: Any) -> Reader:
    """How a value of this type is read; made once for each type."""
    origin, of = get_origin(hint) or hint, get_args(hint)
    if origin is Any:
        return lambda value, _: value
    if origin in (Union, UnionType):
        return _union(of)
    if is_dataclass(origin):
        return _dataclass(origin)
    if isinstance(origin, type) and issubclass(origin, Enum):
        return _enumeration(origin)
    if origin in (tuple, frozenset, list):
        return _sequence(origin, of)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(of)
    return _scalar(origin)


def _dataclass(kind: Any) -> Reader:
    hints = get_type_hints(kind)
    every = fields(kind)
    known = {one.name: _reader(hints[one.name]) for one in every}
    needed = [one.name for one in every if one.default is one.default_factory is MISSING]

    def read(value: object, at: str) -> object:
        if not isinstance(value, Mapping):
            raise _wrong(value, at, "a map")
        for name in needed:
            if name not in value:
                raise Unreadable(f"it has no {_below(at, name)}")
        return kind(
            **{
                name: reader(value[name], _below(at, name))
                for name, reader in known.items()
                if name in value
            }
        )

    return read


def _enumeration(kind: type[Enum]) -> Reader:
    def read(value: object, at: str) -> object:
        try:
            return kind(value)
        except ValueError:
            raise Unreadable(f"{at} is {value!r}") from None

    return read


def _sequence(kind: Any, of: tuple[Any, ...]) -> Reader:
    """`tuple[X, ...]`, `frozenset[X]` and `list[X]` of any length; `tuple[X, Y]` of its own."""
    every = kind is not tuple or of[1:] == (...,)
    readers = [_reader(one) for one in (of[:1] if every else of)]

    def read(value: object, at: str) -> object:
        if not isinstance(value, (list, tuple)):
            raise _wrong(value, at, "a list")
        if not every and len(value) != len(readers):
            raise Unreadable(f"{at} has {len(value)} items instead of {len(readers)}")
        chosen = readers * len(value) if every else readers
        pairs = zip(chosen, value, strict=True)
        return kind(reader(one, f"{at}[{n}]") for n, (reader, one) in enumerate(pairs))

    return read


def _mapping(of: tuple[Any, ...]) -> Reader:
    key, inner = (_reader(one) for one in (of or (Any, Any)))

    def read(value: object, at: str) -> object:
        if not isinstance(value, Mapping):
            raise _wrong(value, at, "a map")
        return {key(name, at): inner(one, _below(at, str(name))) for name, one in value.items()}

    return read


def _union(of: tuple[Any, ...]) -> Reader:
    readers = [_reader(one) for one in of]

    def read(value: object, at: str) -> object:
        for reader in readers[:-1]:
            try:
                return reader(value, at)
            except Unreadable:
                continue
        return readers[-1](value, at)

    return read


def _scalar(kind: Any) -> Reader:
    wanted = (int, float) if kind is float else kind
    if kind is not float and kind not in _PLAIN:
        raise TypeError(f"a record cannot hold {kind!r}")

    def read(value: object, at: str) -> object:
        if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
            raise _wrong(value, at, kind.__name__)
        return value

    return read


def _wrong(value: object, at: str, wanted: str) -> Unreadable:
    return Unreadable(f"{at or 'it'} is of type {type(value).__name__} instead of {wanted}")


def _below(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name
