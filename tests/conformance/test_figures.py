"""The control API stays quick with a thousand endpoints stored; bench/control.py measures it."""

from __future__ import annotations

from contextlib import closing

import pytest

from bench.control import Control, measured
from support.platform import Platform

ENDPOINTS = 1_000
LIST_BOUND_MS = 1_000.0

pytestmark = [pytest.mark.full, pytest.mark.timeout(400)]


def test_a_thousand_endpoints_are_listed_within_a_second(platform: Platform) -> None:
    with closing(Control(platform.status())) as control:
        found = measured(control, ENDPOINTS)

    assert found["list"]["p95_ms"] < LIST_BOUND_MS, found
    assert len(platform.json("online-endpoint", "list")) == ENDPOINTS
