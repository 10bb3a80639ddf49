"""The run of the tests itself: what a collected task logs cannot break the parse it interrupts."""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterator

import pytest

SOURCE = "\n".join(f"x{line} = [a, b, (c, d{line})]" for line in range(300))


class ParsesWhenCollected:
    """As a task does whose error nobody read: its traceback is rendered by way of ast.parse."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        ast.parse("a + b")


@pytest.fixture
def eager_collector() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(5)
    yield
    gc.set_threshold(*before)


@pytest.mark.usefixtures("eager_collector")
def test_a_parse_is_not_entered_again_by_the_garbage_it_collects() -> None:
    for _ in range(20):
        ParsesWhenCollected()
        ParsesWhenCollected()
        assert len(ast.parse(SOURCE).body) == 300
    assert gc.isenabled()
