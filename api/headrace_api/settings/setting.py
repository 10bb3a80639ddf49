"""One setting of a resource, and what becomes of it here: the words of the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final


class Fate(StrEnum):
    """What becomes of a setting that is given."""

    APPLIED = "applied"
    REFUSED = "refused"
    """Nothing is stored; the message says why, and what to do instead."""
    WARNED = "warned"
    """Stored; the answer and `show` say what it does not do here."""
    SHOWN = "shown"
    """What a reader sees; a body or file that was read here may hold it, and it changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """Which values are meant."""

    words: str
    """For the page."""
    holds: Callable[[Any, Mapping[str, Any]], bool]
    """Of a value and the block it is in."""
    found: str = ""
    """What a message says was found; empty tells the value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Values that have another fate than the setting has otherwise."""

    when: When
    fate: Fate
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One row. Paths are dotted: `*` stands for any name in a map, `[]` for the items of a list."""

    key: str
    """In YAML; empty when files do not have it."""
    wire: str
    """In ARM JSON; empty when the wire does not have it."""
    fate: Fate
    says: str
    """Applied: what it does. Refused: why, and what instead. Warned: what it does here."""
    cases: tuple[Case, ...] = ()
    default: Any = None
    """What is judged where it is left out."""
    whole: bool = False
    """Whether the row stands for all that is below the path too."""

    @property
    def is_judged(self) -> bool:
        """Whether any value of it is refused or warned of."""
        return bool(self.cases) or self.fate in (Fate.REFUSED, Fate.WARNED)

    def path(self, *, wire: bool) -> str:
        return self.wire if wire else self.key


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Schema:
    """All settings of one kind of resource; there is one object of each."""

    name: str
    """As the page calls it."""
    settings: tuple[Setting, ...]
    note: str = ""
    """What holds for the whole of it."""
    is_open: bool = False
    """Whether files may hold keys beyond these, which are kept as they are."""


def _is_given(value: Any, _: Mapping[str, Any]) -> bool:
    return value not in (None, "", [], {})


LEFT_OUT: Final = object()
"""A default that no file can give: what is required is refused without it."""
MISSING: Final = When(
    words="left out", found="is required", holds=lambda value, _: value is LEFT_OUT or value == {}
)
GIVEN: Final = When(words="given", found="is not supported", holds=_is_given)
IDLE: Final = When(words="given", found="has no effect", holds=_is_given)


def one_of(*values: object) -> When:
    """Any of these values; text is compared without case."""
    lowered = {_lower(value) for value in values}
    return When(
        words=" or ".join(f"`{_yaml(value)}`" for value in values),
        holds=lambda value, _: not isinstance(value, dict | list) and _lower(value) in lowered,
    )


def other_than(*values: object) -> When:
    """Any other value; none at all is not meant."""
    allowed = one_of(*values)
    return When(
        words=f"other than {allowed.words}",
        holds=lambda value, block: _is_given(value, block) and not allowed.holds(value, block),
    )


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else (type(value), value)


def _yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def refused(when: When, says: str) -> Case:
    """Values that are refused."""
    return Case(when=when, fate=Fate.REFUSED, says=says)


def warned(when: When, says: str) -> Case:
    """Values that are warned of."""
    return Case(when=when, fate=Fate.WARNED, says=says)


def row(
    key: str,
    wire: str,
    says: str,
    *cases: Case,
    fate: Fate = Fate.APPLIED,
    default: Any = None,
    whole: bool = False,
) -> Setting:
    """A setting that is applied, unless said otherwise."""
    return Setting(
        key=key, wire=wire, fate=fate, says=says, cases=cases, default=default, whole=whole
    )


def refusal(key: str, wire: str, says: str) -> Setting:
    """A block or value that is refused with all below it."""
    return row(key, wire, says, fate=Fate.REFUSED, whole=True)


def warning(key: str, wire: str, says: str) -> Setting:
    """A block or value that is kept with all below it, and warned of."""
    return row(key, wire, says, fate=Fate.WARNED, whole=True)


def shown(*paths: tuple[str, str]) -> tuple[Setting, ...]:
    """What only a reader sees, by key and wire."""
    return tuple(row(key, wire, "", fate=Fate.SHOWN, whole=True) for key, wire in paths)
