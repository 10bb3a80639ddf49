"""ISO-8601 durations, as ARM writes them, to and from milliseconds."""

from __future__ import annotations

import re
from typing import Final

from headrace_api.errors import InvalidInput

MAX_MS: Final = 10 * 365 * 24 * 3_600_000  # ten years; longer is a typing mistake
_MAX_CHARS: Final = 40
_UNITS_MS: Final = (7 * 86_400_000, 86_400_000, 3_600_000, 60_000, 1_000)
_NUMBER: Final = r"(\d{1,12}(?:\.\d{1,9})?)"
_PATTERN: Final = re.compile(
    rf"P(?:{_NUMBER}W)?(?:{_NUMBER}D)?(?:T(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?"
)


def parse_ms(text: str) -> int:
    """Milliseconds of `PT0.5S`; fractions below one are rounded.

    Raises InvalidInput on months, years, signs and anything that is not a duration.
    """
    match = _PATTERN.fullmatch(text) if len(text) <= _MAX_CHARS else None
    if match is None or not any(match.groups()) or text.endswith("T"):
        raise InvalidInput(f"{text[:_MAX_CHARS]!r} is not a duration such as PT5S or PT0.5S")
    total = sum(
        float(number) * unit
        for number, unit in zip(match.groups(), _UNITS_MS, strict=True)
        if number
    )
    if total > MAX_MS:
        raise InvalidInput(f"{text!r} is longer than ten years")
    return round(total)


def format_ms(duration_ms: int) -> str:
    """`PT0.5S` for 500. Minutes and hours appear only when they divide it exactly."""
    seconds, rest = divmod(duration_ms, 1_000)
    if rest:
        return f"PT{seconds}.{rest:03d}".rstrip("0") + "S"
    if seconds and seconds % 3_600 == 0:
        return f"PT{seconds // 3_600}H"
    if seconds and seconds % 60 == 0:
        return f"PT{seconds // 60}M"
    return f"PT{seconds}S"
