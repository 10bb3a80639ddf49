"""Whole lines to a file or terminal: what cannot be written is lost, and nobody fails for it.

A disk that is full, or a reader that has gone, must not end what a program does beside its words.
"""

from __future__ import annotations

import os


class Lines:
    """Writes to one descriptor, which stays its owner's."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._torn = False

    def put(self, data: bytes) -> bool:
        """Write lines, ends included; False when they were lost, all or the last of them.

        What comes behind a line that was torn begins on a line of its own.
        """
        whole = b"\n" + data if self._torn else data
        try:
            done = os.write(self._descriptor, whole)
        except OSError:
            return False
        self._torn = done < len(whole)
        return not self._torn
