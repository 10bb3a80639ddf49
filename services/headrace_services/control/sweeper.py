"""Housekeeping that no request waits for: operations and half-done uploads that grew old."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from headrace_api.errors import HeadraceError
from headrace_services.control.blob_shelf import BlobShelf
from headrace_services.control.operations import Operations

log = structlog.get_logger(__name__)

SWEEP_S: Final = 600.0


async def sweep_forever(operations: Operations, blobs: BlobShelf) -> None:
    """Sweep at once and then every ten minutes; a failure is told and tried again."""
    while True:
        try:
            expired = await operations.expire()
            stale = await blobs.drop_stale_uploads()
        except HeadraceError as error:
            log.warning("sweep failed", error=error.message)
        else:
            if expired or stale:
                log.info("swept", operations=expired, uploads=stale)
        await asyncio.sleep(SWEEP_S)
