"""Cron expressions that are, and are not."""

from __future__ import annotations

import pytest

from headrace_api.errors import InvalidInput
from headrace_services.control.assets.cron import check_cron


@pytest.mark.parametrize(
    "expression",
    ["0 3 * * *", "*/15 * * * *", "0 9-17/2 * * mon-fri", "0 0 1,15 jan,jul 0", "59 23 31 12 7"],
)
def test_a_cron_expression_passes(expression: str) -> None:
    check_cron(expression)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("99 99 99 99 99", "the minute .* is '99': use 0 to 59"),
        ("0 24 * * *", "the hour"),
        ("0 0 0 * *", "the day"),
        ("0 0 * 13 *", "the month"),
        ("0 0 * * 8", "the weekday"),
        ("5-1 * * * *", "the minute"),
        ("*/0 * * * *", "the minute"),
        ("a * * * *", "the minute"),
        ("1,,2 * * * *", "the minute"),
        ("0 3 * *", "five fields"),
        ("", "five fields"),
    ],
)
def test_another_is_refused_by_its_field(expression: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        check_cron(expression)
