"""A large body the ingress hands over as a file of its own, on the same machine.

The header `hr-body` is <pid>.<descriptor>.<size>.<may answer>.<nonce>; the file begins with the
nonce. It is the ingress that writes the header: no caller may send a name that begins with hr-.
"""

from __future__ import annotations

import os
from typing import Final, Optional, Tuple

from . import frames

HEADER: Final = "hr-body"
SIZE_HEADER: Final = "hr-size"
HANDED_BYTES: Final = 64 * 1024  # smaller answers go with their message
NONCE_BYTES: Final = 16


class Lost(Exception):
    """The file is not there any more: its ingress has ended, or waits no longer."""


class Handed:
    """An open file of the ingress."""

    __slots__ = ("_descriptor", "_may_answer", "_size")

    def __init__(self, reference: str) -> None:
        """Raises Lost."""
        self._descriptor = -1
        try:
            pid, descriptor, size, may_answer, nonce = reference.split(".")
            self._size, self._may_answer = int(size), may_answer == "1"
            # Not blocking: by now the descriptor may be of something else, which is never read.
            path = "/proc/%d/fd/%d" % (int(pid), int(descriptor))
            self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            if os.pread(self._descriptor, NONCE_BYTES, 0) != bytes.fromhex(nonce):
                raise Lost(reference)
        except (OSError, ValueError) as error:
            raise Lost(reference) from error

    def body(self) -> bytes:
        """Raises Lost."""
        found = bytearray()
        while len(found) < self._size:
            part = os.pread(self._descriptor, self._size - len(found), NONCE_BYTES + len(found))
            if not part:
                raise Lost("%d of %d bytes" % (len(found), self._size))
            if len(part) == self._size:
                return part
            found += part
        return bytes(found)

    def give(self, reply: frames.Reply) -> frames.Reply:
        """Leave a large answer in the file, behind the request; a small one as it is."""
        size = len(reply.body)
        if not self._may_answer or size < HANDED_BYTES:
            return reply
        try:
            view, at = memoryview(reply.body), 0
            while at < size:
                at += os.pwrite(self._descriptor, view[at:], NONCE_BYTES + self._size + at)
        except OSError:  # a full disk; the message may still carry it
            return reply
        return reply._replace(headers=[*reply.headers, (SIZE_HEADER, str(size))], body=b"")

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


def take(call: frames.Call) -> Tuple[frames.Call, Optional[Handed]]:
    """The call with its body, and the file it came in. Raises Lost."""
    if not call.headers or call.headers[-1][0] != HEADER:
        return call, None
    handed = Handed(call.headers[-1][1])
    return call._replace(headers=call.headers[:-1], body=call.body or handed.body()), handed
