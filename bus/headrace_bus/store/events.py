"""The stream EVENTS: CloudEvents of what was done, bounded in age and size."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final, Self

from headrace_bus.client.connection import Bus
from headrace_bus.store import jetstream
from headrace_bus.wire.subjects import all_events, event

STREAM: Final = "EVENTS"
MAX_AGE_S: Final = 30 * 24 * 3600
MAX_BYTES: Final = 64 * 1024 * 1024
MAX_EACH: Final = 10_000  # of one kind, so that no kind pushes out another
MAX_EVENT_BYTES: Final = 2 * 1024  # three kinds, as many and as large as may be, fit MAX_BYTES
AT_ONCE: Final = 32  # reads under way
_NS: Final = 1_000_000_000


class Events:
    """Writes and reads them. Made by `open`."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    @classmethod
    async def open(cls, bus: Bus, *, replicas: int = 1) -> Self:
        """Create the stream unless it exists. Raises BusDisconnected, JetStreamRefused."""
        config = {
            "name": STREAM,
            "subjects": [all_events()],
            "storage": "file",
            "retention": "limits",
            "discard": "old",
            "max_age": MAX_AGE_S * _NS,
            "max_bytes": MAX_BYTES,
            "max_msgs_per_subject": MAX_EACH,
            "max_msg_size": MAX_EVENT_BYTES,
            "num_replicas": replicas,
            "deny_delete": True,
            "deny_purge": True,
        }
        await jetstream.make_stream(bus, config)
        return cls(bus)

    async def write(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Keep one CloudEvent; returns once it is stored. Raises BusDisconnected."""
        await jetstream.store(self._bus, event(kind), json.dumps(fields).encode(), {})

    async def last(self, count: int) -> list[dict[str, Any]]:
        """The newest `count`, newest first. Raises BusDisconnected."""
        state = (await jetstream.call(self._bus, f"STREAM.INFO.{STREAM}", {}))["state"]
        newest, oldest = int(state["last_seq"]), int(state["first_seq"])
        found: list[dict[str, Any]] = []
        for top in range(newest, max(oldest, 1) - 1, -AT_ONCE):
            sequences = range(top, max(top - AT_ONCE, oldest - 1, 0), -1)
            read = await asyncio.gather(*(self._at(sequence) for sequence in sequences))
            found += [one for one in read if one is not None]
            if len(found) >= count:
                break
        return found[:count]

    async def _at(self, sequence: int) -> dict[str, Any] | None:
        """None for one that is gone."""
        stored = await jetstream.at(self._bus, STREAM, sequence)
        if stored is None:
            return None
        fields: dict[str, Any] = json.loads(stored.data)
        return fields
