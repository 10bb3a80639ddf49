"""Records of control's that hold what control never wrote there."""

from __future__ import annotations

import json
from typing import Final

from headrace_bus.client.connection import Bus
from headrace_bus.client.settings import BusSettings
from headrace_bus.store.bucket import Bucket

DAMAGES: Final = {
    "of another kind": b'{"seq": 1}',
    "no text": b"\xff\xfe{",
    "cut off": b'{"name": "x", "arm": {"prop',
    "a word where an object is expected": json.dumps({"name": "x", "arm": "words"}).encode(),
    "an object without properties": json.dumps({"name": "x", "arm": {}}).encode(),
}


async def damage(
    nats_url: str, bucket: str, key: str, data: bytes = DAMAGES["of another kind"]
) -> None:
    """Write the bytes over what lies under the key, or where nothing is."""
    async with await Bus.connect(BusSettings(url=nats_url, name="damage")) as bus:
        opened = await Bucket.open(bus, bucket)
        found = await opened.get(key)
        await opened.update(key, data, found.revision if found else 0)
        assert await opened.get(key) is not None
