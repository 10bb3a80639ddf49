"""Takes the lease `r`, says so, and lives until it is killed: URL and credentials are arguments."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from headrace_bus.client.connection import Bus
from headrace_bus.client.settings import BusSettings
from headrace_bus.store.bucket import Bucket
from headrace_bus.store.lease import Lease


async def main(url: str, credentials: Path) -> None:
    bus = await Bus.connect(BusSettings(url=url, name="holder", credentials=credentials))
    held = await Lease(Bucket(bus, "state"), "r").acquire()
    sys.stdout.write("held\n" if held else "not held\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
