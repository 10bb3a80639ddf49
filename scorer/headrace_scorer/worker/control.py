"""The control socket: a thread answers pings, passes on cancel and credit, and sees the end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Final

from . import frames, lifetime

READ_BYTES: Final = 64 * 1024


class Control:
    """Shared by the thread that reads and the main thread that runs the model."""

    def __init__(self, control: socket.socket) -> None:
        self._socket = control
        self._lock = threading.Lock()
        self._changed = threading.Condition()
        self._cancelled: set[int] = set()
        self._begun = 0
        self._recalled: set[int] = set()
        self._credit: dict[int, int] = {}
        self.on_cancel: Callable[[int], None] = lambda number: None
        self.on_credit: Callable[[int], None] = lambda number: None
        self.on_stop: Callable[[], None] = lifetime.end_now

    def start(self) -> None:
        threading.Thread(target=self._read, name="headrace-control", daemon=True).start()

    def send(self, kind: int, payload: bytes = b"", number: int = 0) -> None:
        with self._lock:
            self._socket.sendall(frames.encode(kind, number, payload))

    def begin(self, number: int) -> bool:
        """Claim the request for the main thread; False when it was given back before."""
        with self._changed:
            if number in self._recalled:
                self._recalled.remove(number)
                return False
            self._begun = max(self._begun, number)
            return True

    def _give_back(self, number: int) -> None:
        """Begun or given back: whichever of the two threads is first."""
        with self._changed:
            if number <= self._begun or number in self._recalled:
                return
            self._recalled.add(number)
        self.send(frames.RECALLED, number=number)

    def cancelled(self, number: int) -> bool:
        return number in self._cancelled

    def forget(self, number: int) -> None:
        """The request is answered; cancel marks of earlier ones can go too."""
        if self._cancelled:
            self._cancelled = {one for one in self._cancelled if one > number}
        self._credit.pop(number, None)

    def forget_one(self, number: int) -> None:
        """The same where requests end in any order."""
        self._cancelled.discard(number)
        self._credit.pop(number, None)

    def open_stream(self, number: int) -> None:
        with self._changed:
            self._credit[number] = frames.WINDOW - 1  # the head of the stream is a chunk too

    def try_chunk(self, number: int) -> bool:
        """Take the right to send one chunk, if there is one."""
        with self._changed:
            left = self._credit.get(number, 0)
            if left > 0:
                self._credit[number] = left - 1
            return left > 0

    def wait_chunk(self, number: int) -> bool:
        """Block until a chunk may be sent; False when the request is cancelled."""
        with self._changed:
            while not self.cancelled(number):
                if self._credit.get(number, 0) > 0:
                    self._credit[number] -= 1
                    return True
                self._changed.wait(1.0)
        return False

    def _read(self) -> None:
        decoder = frames.Decoder()
        try:
            while True:
                data = self._socket.recv(READ_BYTES)
                if not data:
                    break
                for kind, number, payload in decoder.feed(data):
                    self._take(kind, number, payload)
        finally:
            lifetime.end_now()

    def _take(self, kind: int, number: int, payload: bytes) -> None:
        if kind == frames.PING:
            self.send(frames.PONG, number=number)
        elif kind == frames.RECALL:
            self._give_back(number)
        elif kind == frames.STOP:
            self.on_stop()
        elif kind == frames.CANCEL:
            with self._changed:
                self._cancelled.add(number)
                self._changed.notify_all()
            self.on_cancel(number)
        elif kind == frames.CREDIT:
            with self._changed:
                if number in self._credit:
                    self._credit[number] += int.from_bytes(payload, "big")
                self._changed.notify_all()
            self.on_credit(number)
