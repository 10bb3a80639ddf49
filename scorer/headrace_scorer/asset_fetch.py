"""Brings the files of a model or of code to where an instance can use them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from headrace_api.home import Home
from headrace_bus.wire.launch import AssetFile, Launch
from headrace_scorer import assets
from headrace_scorer.remote_bytes import RemoteBytes

Say = Callable[[str], None]


async def bring(
    what: str, files: tuple[AssetFile, ...], launch: Launch, home: Home, say: Say
) -> Path | None:
    """The folder that holds them; None when there are none. `what` is for the log.

    Raises FetchFailed, LaunchRefused, BlobNotFound, DigestMismatch, OSError.
    """
    if not files:
        return None
    say(f"fetching {what}: {len(files)} files, {sum(file.size_bytes for file in files)} bytes")
    if launch.bytes_url:
        remote = RemoteBytes(url=launch.bytes_url, ca=home.ca, blobs=home.blobs)
        try:
            await asyncio.to_thread(remote.fetch_missing, files, say)
        finally:
            remote.given_up.set()
    return await asyncio.to_thread(assets.materialise, files, home.blobs, home.assets)
