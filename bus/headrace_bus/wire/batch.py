"""Several envelopes in one message: the bus costs by the message, not by the byte.

Whoever takes trains says so first: an instance by `trains` of its heartbeat, an edge by
RequestFlag.TRAINS of each request. An envelope that goes alone is sent as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgpack

from headrace_bus.errors import MalformedEnvelope
from headrace_bus.wire.envelope import VERSION

TRAIN_BYTES: Final = 64 * 1024  # of envelopes in one message; a larger one goes alone

_PREFIX: Final = bytes((VERSION, 0x54))
_pack: Final = msgpack.Packer().pack  # packb makes a packer each time


def couple(envelopes: Sequence[bytes]) -> bytes:
    """One message of at least one envelope."""
    if len(envelopes) == 1:
        return envelopes[0]
    packed: bytes = _pack(envelopes)
    return _PREFIX + packed


def uncouple(data: bytes) -> list[bytes]:
    """The envelopes of a message, one or more. Raises MalformedEnvelope."""
    if not data.startswith(_PREFIX):
        return [data]
    try:
        envelopes = msgpack.unpackb(memoryview(data)[len(_PREFIX) :])
    except (ValueError, msgpack.UnpackException) as error:
        raise MalformedEnvelope("train", str(error)) from error
    if type(envelopes) is not list or any(type(one) is not bytes for one in envelopes):
        raise MalformedEnvelope("train", "not a list of envelopes")
    return envelopes
