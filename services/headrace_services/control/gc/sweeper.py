"""Housekeeping that no request waits for: operations and half-done writes that grew old."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from headrace_api.errors import HeadraceError
from headrace_services.control.resources.operations import Operations
from headrace_state.endpoint_keys import EndpointKeys
from headrace_state.records import Spec, endpoint_key
from headrace_state.repository import Repository, Stored

log = structlog.get_logger(__name__)

SWEEP_S: Final = 600.0


async def sweep_forever(
    operations: Operations, keys: EndpointKeys, specs: Repository[Spec]
) -> None:
    """Sweep at once and then every ten minutes; a failure is told and tried again."""
    while True:
        try:
            expired = await operations.expire()
            staged = await drop_staged_keys(operations, keys, specs)
        except HeadraceError as error:
            log.warning("sweep failed", error=error.message)
        else:
            if expired or staged:
                log.info("swept", operations=expired, keys=staged)
        await asyncio.sleep(SWEEP_S)


async def drop_staged_keys(
    operations: Operations, keys: EndpointKeys, specs: Repository[Spec]
) -> int:
    """Drop what a killed write staged, once its operation is forgotten; return how many."""

    async def is_due(endpoint: str, operation: str) -> bool:
        if await operations.known(operation):
            return True
        found = await specs.present(endpoint_key(endpoint))
        if isinstance(found, Stored):
            return found.value.operation == operation
        return found is not None  # what cannot be read may carry it

    return await keys.drop_staged(is_due)
