"""`@batched(max_size, max_delay_ms)`: requests that wait together become one call of `run`."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any, Final, List

MAX_SIZE: Final = 64  # elements of a batch for a `run_batch` that says nothing
MAX_DELAY_MS: Final = 2.0
LARGEST: Final = 4096  # no batch is larger, whatever the script says
MARK: Final = "headrace_batch"


class Batch:
    """How a script wants its requests joined."""

    __slots__ = ("function", "max_delay_s", "max_size")

    def __init__(
        self, function: Callable[[List[Any]], Any], max_size: int, max_delay_ms: float
    ) -> None:
        self.function = function
        self.max_size = max_size
        self.max_delay_s = max_delay_ms / 1e3


def batched(
    max_size: int = MAX_SIZE, max_delay_ms: float = MAX_DELAY_MS
) -> Callable[[Callable[[List[Any]], Any]], Callable[[Any], Any]]:
    """Decorate a `run(list)` that answers with a list of the same length.

    An element that is an exception is the error of that caller alone. Called by hand with one
    input, the decorated function answers for that one. Raises ValueError for sizes that cannot be.
    """
    if not 1 <= max_size <= LARGEST or not 0 <= max_delay_ms <= 10_000:
        raise ValueError(
            "batched(max_size=%r, max_delay_ms=%r): 1 to %d, and 0 to 10000 ms expected"
            % (max_size, max_delay_ms, LARGEST)
        )

    def decorate(function: Callable[[List[Any]], Any]) -> Callable[[Any], Any]:
        @functools.wraps(function)
        def run(one: Any) -> Any:
            return single(function, one)

        setattr(run, MARK, Batch(function, max_size, max_delay_ms))
        return run

    return decorate


def adopt(module: types.ModuleType) -> None:
    """A script with `run_batch(list)` serves by it, `run` or not."""
    function = getattr(module, "run_batch", None)
    if callable(function):
        made = function if of(function) is not None else batched()(function)
        module.run = made  # type: ignore[attr-defined]  # a script is what it defines


def of(run: Any) -> Batch | None:
    """What `batched` left on the function."""
    found = getattr(run, MARK, None)
    return found if isinstance(found, Batch) else None


def single(function: Callable[[List[Any]], Any], one: Any) -> Any:
    """The answer for one input. Raises what the function raises, or answers with."""
    (value,) = call(function, [one])
    if isinstance(value, BaseException):
        raise value
    return value


def call(function: Callable[[List[Any]], Any], many: list[Any]) -> list[Any]:
    """One value per input, in order. Raises TypeError for any other number of them."""
    values = function(many)
    if inspect.isgenerator(values):
        values = list(values)
    if not hasattr(values, "__len__") or isinstance(values, (str, bytes, dict)):
        raise TypeError("a batched run() must return a list, not %s" % type(values).__name__)
    if len(values) != len(many):
        raise TypeError("a batched run() returned %d for %d inputs" % (len(values), len(many)))
    return list(values)


def wait_s(waiting: int, before: int, batch: Batch) -> float:
    """How long to wait for more, from the first that waits.

    Nothing when the batch is full, or as many are here as came together last time: with one caller
    there is nobody to wait for, with n in a circle all are here again (adaptive, so that a delay
    costs a lone caller nothing).
    """
    if waiting >= batch.max_size or waiting >= before:
        return 0.0
    return batch.max_delay_s
