"""ISO-8601 durations in milliseconds."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_api.durations import MAX_MS, format_ms, parse_ms
from headrace_api.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("PT5S", 5_000),
        ("PT0.5S", 500),
        ("PT1M30S", 90_000),
        ("P1DT1H", 90_000_000),
        ("P1W", 604_800_000),
        ("PT0S", 0),
    ],
)
def test_known_forms(text: str, expected_ms: int) -> None:
    assert parse_ms(text) == expected_ms


@pytest.mark.parametrize(
    "text", ["", "P", "PT", "P1DT", "5S", "-PT5S", "P1M", "PT5", "PT1e9S", "P9999999999W"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_ms(text)


@given(st.integers(min_value=0, max_value=MAX_MS))
def test_every_millisecond_survives(duration_ms: int) -> None:
    assert parse_ms(format_ms(duration_ms)) == duration_ms


@given(st.text(max_size=60))
def test_no_text_raises_anything_but_invalid_input(text: str) -> None:
    with contextlib.suppress(InvalidInput):
        assert parse_ms(text) >= 0
