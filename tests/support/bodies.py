"""Which large bodies a process has open: files without a name, which psutil does not list."""

from __future__ import annotations

import asyncio
import os


def held(pid: int) -> list[int]:
    """Bytes of each, so far; none of a process that has ended."""
    folder, found = f"/proc/{pid}/fd", []
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    for name in names:
        try:
            if "/run/bodies/" in os.readlink(f"{folder}/{name}"):
                found.append(os.stat(f"{folder}/{name}").st_size)
        except OSError:
            continue  # closed meanwhile
    return found


async def none_held(pid: int, bound_s: float = 30.0) -> None:
    """Wait until a process has let all go: a file is closed after the reply."""
    async with asyncio.timeout(bound_s):
        while held(pid):  # noqa: ASYNC110  (files tell nobody that they close)
            await asyncio.sleep(0.02)
