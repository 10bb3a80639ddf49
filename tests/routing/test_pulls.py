"""A body comes whole whatever is lost, doubled or late on the way, and never too much at once."""

from __future__ import annotations

import random
from collections import deque

import pytest

from headrace_bus.routing.bodies.pulls import AT_ONCE, WINDOW, Pulled, Pulls, pieces
from headrace_bus.wire.envelope import PIECE_BYTES


class Way:
    """The other side, and a road that loses."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.got = bytearray()
        self.asked: deque[tuple[int, int]] = deque()
        self.ended = 0
        self.errors: list[OSError] = []

    def pulled(self) -> Pulled:
        return Pulled(
            len(self.body),
            ask=lambda first, n: self.asked.append((first, n)),
            write=self.write,
            done=self.end,
            failed=self.errors.append,
        )

    def write(self, data: bytes) -> None:
        self.got += data

    def end(self) -> None:
        self.ended += 1

    def piece(self, number: int) -> bytes:
        return self.body[number * PIECE_BYTES : (number + 1) * PIECE_BYTES]


@pytest.mark.parametrize("seed", range(20))
def test_every_byte_comes_once_and_in_order(seed: int) -> None:
    rng = random.Random(seed)
    way = Way(rng.randbytes(rng.randrange(1, 30 * PIECE_BYTES)))
    pulls = Pulls()
    pulls.start("a", way.pulled())
    turns = 0
    while not way.ended:
        turns += 1
        assert turns < 10_000
        if not way.asked:
            pulls.tick()
            continue
        first, n = way.asked.popleft()
        for number in range(first, first + n):
            kind = rng.random()
            if kind < 0.8:  # the rest is lost
                pulls.piece("a", number, way.piece(number))
            if kind < 0.1:
                pulls.piece("a", number, way.piece(number))
    assert way.got == way.body
    assert (way.ended, len(pulls)) == (1, 0)


def test_no_more_than_a_window_is_on_the_way() -> None:
    way = Way(bytes(100 * PIECE_BYTES))
    pulls = Pulls()
    pulls.start("a", way.pulled())
    on_the_way: set[int] = set()
    for number in range(100):
        while way.asked:
            first, n = way.asked.popleft()
            on_the_way |= set(range(first, first + n))
        assert number in on_the_way
        assert len(on_the_way) <= WINDOW
        on_the_way.discard(number)
        pulls.piece("a", number, way.piece(number))
    assert way.ended == 1


def test_a_piece_of_another_size_is_no_piece() -> None:
    way = Way(bytes(3 * PIECE_BYTES))
    pulls = Pulls()
    pulls.start("a", way.pulled())
    for data in (b"", bytes(PIECE_BYTES - 1), bytes(PIECE_BYTES + 1)):
        pulls.piece("a", 0, data)
    assert not way.got


def test_the_others_wait_in_line() -> None:
    ways = [Way(bytes(PIECE_BYTES)) for _ in range(AT_ONCE + 2)]
    pulls = Pulls()
    for number, way in enumerate(ways):
        pulls.start(str(number), way.pulled())
    assert [bool(way.asked) for way in ways] == [True] * AT_ONCE + [False] * 2
    pulls.piece("0", 0, ways[0].body)
    pulls.drop("1")
    pulls.drop("2")
    assert [bool(way.asked) for way in ways[-2:]] == [True, True]


def test_a_full_disk_ends_it_once() -> None:
    way = Way(bytes(4 * PIECE_BYTES))

    def full(_: bytes) -> None:
        raise OSError(28, "full")

    pulls = Pulls()
    pulled = Pulled(
        len(way.body), ask=lambda *_: None, write=full, done=way.end, failed=way.errors.append
    )
    pulls.start("a", pulled)
    for number in range(4):
        pulls.piece("a", number, way.piece(number))
    assert (len(way.errors), way.ended, len(pulls)) == (1, 0, 0)


def test_pieces_are_counted_up() -> None:
    sizes = (0, 1, PIECE_BYTES, PIECE_BYTES + 1)
    assert [pieces(size) for size in sizes] == [0, 1, 1, 2]
