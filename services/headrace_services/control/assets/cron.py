"""Cron expressions: five fields, each within its bounds. Pure."""

from __future__ import annotations

import re
from typing import Final

from headrace_api.errors import InvalidInput

TARGET: Final = "properties.trigger.expression"
_FIELDS: Final = (
    ("minute", 0, 59, ""),
    ("hour", 0, 23, ""),
    ("day", 1, 31, ""),
    ("month", 1, 12, "jan feb mar apr may jun jul aug sep oct nov dec"),
    ("weekday", 0, 7, "sun mon tue wed thu fri sat"),
)
_PART: Final = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d{1,2}))?")


def check_cron(expression: str) -> None:
    """Raises InvalidInput, naming the field and its bounds."""
    given = expression.lower().split()
    if len(given) != len(_FIELDS):
        raise InvalidInput(
            "a cron expression has five fields: minute, hour, day, month, weekday", target=TARGET
        )
    for (name, least, most, names), field in zip(_FIELDS, given, strict=True):
        known = {one: at for at, one in enumerate(names.split(), start=least)}
        if not all(_is_within(part, least, most, known) for part in field.split(",")):
            raise InvalidInput(
                f"the {name} of a cron expression is {field[:40]!r}: use {least} to {most}, '*', "
                "ranges as 1-5, steps as */2, and lists of these",
                target=TARGET,
            )


def _is_within(part: str, least: int, most: int, names: dict[str, int]) -> bool:
    found = _PART.fullmatch(part)
    if found is None or found["step"] in ("0", "00"):
        return False
    ends = [_number(one, names) for one in (found["first"], found["last"]) if one]
    return all(least <= one <= most for one in ends) and ends == sorted(ends)


def _number(text: str, names: dict[str, int]) -> int:
    """-1 for what is no number and no name."""
    return names.get(text, int(text) if text.isdecimal() and len(text) < 3 else -1)
