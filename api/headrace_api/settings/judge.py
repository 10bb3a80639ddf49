"""What the table says of one file or body: what is refused, what is warned of, what it lacks."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from headrace_api.errors import InvalidInput
from headrace_api.settings.setting import GIVEN, IDLE, Case, Fate, Schema, Setting, When
from headrace_api.yaml_file import Fault, KeyPath, key_text, shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """What is said of one value."""

    key: KeyPath
    name: str
    """The setting's, as files have it."""
    fate: Fate
    text: str
    """What was found and why, to stand after the key."""

    @property
    def fault(self) -> Fault:
        return Fault(key=self.key, text=self.text)

    def __str__(self) -> str:
        return f"{key_text(self.key)} {self.text}"


def remarks(schema: Schema, values: Mapping[str, Any], *, wire: bool) -> tuple[Remark, ...]:
    """Of all that is refused or warned of; `wire` reads ARM JSON, else a file's keys."""
    return tuple(
        remark
        for setting in _judged(schema, wire=wire)
        for key, value, block in _found(values, setting, wire=wire)
        if (remark := _remark(setting, key, value, block)) is not None
    )


@cache
def _judged(schema: Schema, *, wire: bool) -> tuple[Setting, ...]:
    return tuple(one for one in schema.settings if one.is_judged and one.path(wire=wire))


def refusals(schema: Schema, values: Mapping[str, Any], *, wire: bool) -> list[Fault]:
    return [one.fault for one in remarks(schema, values, wire=wire) if one.fate is Fate.REFUSED]


def warnings_of(schema: Schema, values: Mapping[str, Any], *, wire: bool) -> tuple[str, ...]:
    """One line each, by the key of the file where there is one."""
    return _lines(remarks(schema, values, wire=wire), Fate.WARNED)


def warnings_of_stored(schema: Schema, stored: Mapping[str, Any]) -> tuple[str, ...]:
    """As warnings_of, of what an earlier release may have stored and this one would refuse too."""
    return _lines(remarks(schema, stored, wire=True), Fate.WARNED, Fate.REFUSED)


def _lines(found: Iterable[Remark], *fates: Fate) -> tuple[str, ...]:
    lines = (f"{one.name} {one.text}" for one in found if one.fate in fates)
    return tuple(dict.fromkeys(lines))


def beyond(schema: Schema, body: Mapping[str, Any], stored: Mapping[str, Any]) -> tuple[str, ...]:
    """What a body of the wire warns of that is not told by what was stored of it; one line each."""
    told = warnings_of(schema, stored, wire=True)
    found = (*warnings_of(schema, body, wire=True), *_unread(schema, body))
    return tuple(line for line in found if line not in told)


def require_known(schema: Schema, body: Mapping[str, Any]) -> None:
    """Raises InvalidInput when a body of the wire has a key that no row speaks of."""
    if key := next(_unknown_to(schema, body), None):
        allowed = ", ".join(one.wire for one in schema.settings if one.fate is not Fate.SHOWN)
        raise InvalidInput(
            f"{key_text(key)} is not a key of {schema.name}s; allowed are {allowed}",
            target=key_text(key),
        )


def _unread(schema: Schema, body: Mapping[str, Any]) -> Iterator[str]:
    for key in _unknown_to(schema, body):
        yield f"{key_text(key)} is not known here: nothing is read of it"


def _unknown_to(schema: Schema, body: Mapping[str, Any]) -> Iterator[KeyPath]:
    """The topmost keys that no row speaks of."""
    rows = [one for one in schema.settings if one.wire]
    passed: list[KeyPath] = []
    for key, value in _items(body):
        if any(key[: len(one)] == one for one in passed):
            continue
        if value is not None and not any(covers(one, key, wire=True) for one in rows):
            passed.append(key)
            yield key


def require_allowed(schema: Schema, body: Mapping[str, Any]) -> None:
    """Raises InvalidInput when a body of the wire holds what is refused; one line for each."""
    found = [one for one in remarks(schema, body, wire=True) if one.fate is Fate.REFUSED]
    if found:
        text = "\n".join(str(one) for one in found)
        raise InvalidInput(text, target=key_text(found[0].key))


def unknown_keys(schema: Schema, values: Mapping[str, Any]) -> list[Fault]:
    """Of a file: keys that the table does not have, each with its neighbour."""
    if schema.is_open:
        return []
    known = [one for one in schema.settings if one.key]
    return [
        Fault(key=key, text=_unknown(known, key))
        for key, _ in _items(values)
        if not any(covers(one, key, wire=False) for one in known)
    ]


def _found(
    values: Mapping[str, Any], setting: Setting, *, wire: bool
) -> Iterator[tuple[KeyPath, Any, Mapping[str, Any]]]:
    parts = _parts(setting.path(wire=wire))
    found = list(_at(values, parts, (), values))
    if not found and setting.default is not None:
        found = [(parts, setting.default, values)]
    yield from found


@cache
def _parts(path: str) -> tuple[str, ...]:
    return tuple(path.replace("[]", ".[]").split("."))


def _at(
    value: Any, parts: tuple[str, ...], key: KeyPath, block: Mapping[str, Any]
) -> Iterator[tuple[KeyPath, Any, Mapping[str, Any]]]:
    if not parts:
        if value is not None:
            yield key, value, block
        return
    first, rest = parts[0], parts[1:]
    if first == "[]":
        for at, one in enumerate(value if isinstance(value, list) else ()):
            yield from _at(one, rest, (*key, at), block)
    elif isinstance(value, Mapping):
        for name in value if first == "*" else [first] if first in value else []:
            yield from _at(value[name], rest, (*key, name), value)


def _remark(setting: Setting, key: KeyPath, value: Any, block: Mapping[str, Any]) -> Remark | None:
    case = next((one for one in _cases(setting) if one.when.holds(value, block)), None)
    if case is None:
        return None
    return Remark(
        key=key,
        name=setting.key or setting.wire,
        fate=case.fate,
        text=f"{_what(case.when, key, value)}: {case.says}",
    )


def _cases(setting: Setting) -> tuple[Case, ...]:
    if setting.fate in (Fate.APPLIED, Fate.SHOWN):
        return setting.cases
    when = GIVEN if setting.fate is Fate.REFUSED else IDLE
    return (*setting.cases, Case(when=when, fate=setting.fate, says=setting.says))


def _what(when: When, key: KeyPath, value: Any) -> str:
    if isinstance(value, bool):
        return when.found or f"is {str(value).lower()}"
    return when.found or f"is {shown(key, value)}"


def _items(values: Any, key: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Every key, those of blocks within too, with its value."""
    if isinstance(values, Mapping):
        for name, value in values.items():
            yield (*key, name), value
            yield from _items(value, (*key, name))
    elif isinstance(values, list):
        for at, value in enumerate(values):
            yield from _items(value, (*key, at))


def covers(setting: Setting, key: KeyPath, *, wire: bool) -> bool:
    """Whether the row, or a block that holds it, speaks of this place."""
    path = _parts(setting.path(wire=wire))
    if len(key) > len(path) and not setting.whole:
        return False
    return all(
        mine in ("*", str(theirs)) or (mine == "[]" and isinstance(theirs, int))
        for mine, theirs in zip(path, key, strict=False)
    )


def _unknown(known: list[Setting], key: KeyPath) -> str:
    beside = {
        one.key.split(".")[len(key) - 1]
        for one in known
        if covers(one, key[:-1], wire=False) and one.key.count(".") >= len(key) - 1
    }
    near = difflib.get_close_matches(str(key[-1]), beside, n=1)
    rest = f"did you mean {near[0]!r}?" if near else f"allowed are {', '.join(sorted(beside))}"
    return f"is not a key of this block; {rest}"
