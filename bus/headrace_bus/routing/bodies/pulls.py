"""Large bodies on their way here in pieces: who needs one asks for it, piece after piece.

    start -> ask(first, n) -> piece, piece, ... -> ask(...) -> ... -> done
                 ^ again, each half second without a piece

The side that has the bytes keeps no state but its file, so whatever was lost on the way, by a
reconnect too, is asked for again. At most WINDOW pieces of a body are on the way, and those of
AT_ONCE bodies; the others wait in line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from headrace_bus.wire.envelope import PIECE_BYTES

WINDOW: Final = 8  # pieces asked for and not here yet, of one body
AT_ONCE: Final = 8  # bodies


class Pulled:
    """One body that comes; `write` may raise OSError."""

    __slots__ = ("_ask", "_asked", "_moved", "_next", "_write", "done", "failed", "size_bytes")

    def __init__(
        self,
        size_bytes: int,
        *,
        ask: Callable[[int, int], None],
        write: Callable[[bytes], None],
        done: Callable[[], None],
        failed: Callable[[OSError], None],
    ) -> None:
        """`ask` gets the number of the first piece wanted and how many."""
        self.size_bytes = size_bytes
        self.done = done
        self.failed = failed
        self._ask = ask
        self._write = write
        self._next = 0
        self._asked = 0
        self._moved = False

    @property
    def count(self) -> int:
        """Pieces of the whole body."""
        return pieces(self.size_bytes)

    def take(self, number: int, data: bytes) -> bool:
        """Keep the next piece, drop any other; True with the last one. Raises OSError."""
        expected = min(PIECE_BYTES, self.size_bytes - number * PIECE_BYTES)
        if number != self._next or len(data) != expected:
            return False
        self._write(data)
        self._next += 1
        self._moved = True
        if self._next == self.count:
            return True
        if self._asked - self._next <= WINDOW // 2:
            self.more()
        return False

    def more(self) -> None:
        """Ask for as many as may be on the way."""
        until = min(self._next + WINDOW, self.count)
        if until > self._asked:
            first, self._asked = self._asked, until
            self._ask(first, until - first)

    def again(self) -> None:
        """Ask anew for what is not here: what was on the way may be lost."""
        self._asked = self._next
        self.more()

    def stalled(self) -> bool:
        """Whether nothing came since the last look."""
        moved, self._moved = self._moved, False
        return not moved


class Pulls:
    """The bodies that come to one process, by request id."""

    def __init__(self) -> None:
        self._active: dict[str, Pulled] = {}
        self._waiting: dict[str, Pulled] = {}

    def __len__(self) -> int:
        return len(self._active) + len(self._waiting)

    def start(self, key: str, pulled: Pulled) -> None:
        self._waiting[key] = pulled
        self._begin()

    def piece(self, key: str, number: int, data: bytes) -> None:
        """Take a piece; calls the body's `done` or `failed` when that was its end."""
        pulled = self._active.get(key)
        if pulled is None:
            return
        try:
            whole = pulled.take(number, data)
        except OSError as error:
            self.drop(key)
            pulled.failed(error)
            return
        if whole:
            self.drop(key)
            pulled.done()

    def again(self, key: str) -> None:
        """What was on the way for this one is lost."""
        pulled = self._active.get(key)
        if pulled is not None:
            pulled.again()

    def drop(self, key: str) -> None:
        """Nobody wants it any more."""
        self._waiting.pop(key, None)
        if self._active.pop(key, None) is not None:
            self._begin()

    def tick(self) -> None:
        """Ask again for what stands still; each half second."""
        for pulled in list(self._active.values()):
            if pulled.stalled():
                pulled.again()

    def _begin(self) -> None:
        while self._waiting and len(self._active) < AT_ONCE:
            key = next(iter(self._waiting))
            pulled = self._active[key] = self._waiting.pop(key)
            pulled.more()


def pieces(size_bytes: int) -> int:
    """How many pieces a body has; an empty one has none."""
    return -(-size_bytes // PIECE_BYTES)
