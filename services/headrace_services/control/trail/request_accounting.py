"""The books of conservation: what every ingress says became of its requests, kept past its end.

An ingress counts for itself and says so in each heartbeat. Control keeps the last word of each in
`state`, so that one that vanished stays in the sum, with what it had in flight as lost. What it
took after its last heartbeat is in no term on either side. An audit waits for a heartbeat of each
live ingress, so that whatever was answered before the call is in it.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import Final

import structlog

from headrace_bus.client.connection import Bus
from headrace_bus.errors import BusError, MalformedEnvelope
from headrace_bus.store.bucket import Bucket, Record
from headrace_bus.wire.conservation import Terms
from headrace_bus.wire.heartbeat import IngressHeartbeat
from headrace_services.control.arm.request import Answer, Call
from headrace_state.fleet_view import FleetView
from headrace_state.records import UnreadableRecord, conservation_key
from headrace_telemetry.tasks import Tasks

log = structlog.get_logger(__name__)

ONLINE: Final = "online"
KEEP_S: Final = 5.0  # between two looks at what has to be written


class Conservation:
    """Handler of `GET .../audit`. Any number of controls may keep the same books."""

    def __init__(self, bus: Bus, state: Bucket, view: FleetView) -> None:
        self._bus = bus
        self._state = state
        self._view = view
        self._heard: dict[str, Terms] = {}
        self._kept: dict[str, Terms] = {}
        self._tasks = Tasks("conservation")
        view.on_ingress(self._hear)

    async def start(self) -> None:
        """Begin to write down what is heard."""
        self._tasks.forever(self._keep(), "keep")

    async def stop(self) -> None:
        await self._tasks.stop()

    async def online(self) -> Terms:
        """The sum over all ingresses that ever were.

        Raises UnreadableRecord, of an ingress that speaks no more: a sum without it would be told
        as whole. Raises BusDisconnected.
        """
        heard = {conservation_key(ONLINE, one) for one in self._heard}
        records = await self._state.list(conservation_key(ONLINE))
        known = {key: _terms(records[key]) for key in records.keys() - heard}
        known |= {conservation_key(ONLINE, one): terms for one, terms in self._heard.items()}
        live = {conservation_key(ONLINE, one) for one in self._view.live_ingresses()}
        for key in known.keys() - live:
            known[key] = known[key].with_its_ingress_gone()
        return Terms.sum(known.values())

    async def audit(self, call: Call) -> Answer:
        """Each lane's terms and whether they balance, no older than the call."""
        # A heartbeat that already lies at the server may be older than the call's last answer.
        await self._bus.flush()
        await self._view.await_all_ingresses()
        lanes = {ONLINE: await self.online()}
        total = Terms.sum(lanes.values())
        body = asdict(total) | {
            "balanced": all(terms.balanced for terms in lanes.values()),
            "lanes": {
                name: asdict(terms) | {"balanced": terms.balanced} for name, terms in lanes.items()
            },
        }
        return Answer(body=body)

    def _hear(self, beat: IngressHeartbeat) -> None:
        try:
            self._heard[beat.ingress_id] = Terms.decode(beat.online)
        except MalformedEnvelope as error:
            log.warning("terms are malformed", ingress=beat.ingress_id, reason=str(error))

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(KEEP_S)
            for ingress_id, terms in list(self._heard.items()):
                if self._kept.get(ingress_id) != terms:
                    await self._write(ingress_id, terms)

    async def _write(self, ingress_id: str, terms: Terms) -> None:
        """Last word wins: every control hears the same ones."""
        key = conservation_key(ONLINE, ingress_id)
        value = json.dumps(asdict(terms)).encode()
        try:
            known = await self._state.get(key)
            if known is None:
                await self._state.create(key, value)
            else:
                await self._state.update(key, value, known.revision)
        except BusError as error:
            log.info(
                "request totals could not be stored yet", ingress=ingress_id, reason=str(error)
            )
            return
        self._kept[ingress_id] = terms


def _terms(record: Record) -> Terms:
    try:
        return Terms.decode(json.loads(record.value))
    except (ValueError, AttributeError, RecursionError) as error:  # a list has no items
        raise UnreadableRecord(Terms.__name__, record.key, str(error)) from error
