"""The books of conservation: what every ingress says became of its requests, kept past its end.

An ingress counts for itself and says so in each heartbeat. Control keeps the last word of each in
`state`, so that one that vanished stays in the sum, with what it had in flight as lost. What it
took after its last heartbeat is in no term on either side. An audit waits for a heartbeat of each
live ingress, so that whatever was answered before the call is in it.

Each start of an ingress makes a record. Past MOST_GONE, the oldest of those that are gone become
one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Final

import structlog

from headrace_bus.client.connection import Bus
from headrace_bus.errors import BusError, MalformedEnvelope
from headrace_bus.store.bucket import Bucket, Record
from headrace_bus.store.lease import MAX_BATCH, Lease
from headrace_bus.wire.conservation import Terms
from headrace_bus.wire.heartbeat import IngressHeartbeat
from headrace_services.control.arm.request import Answer, Call
from headrace_state.fleet_view import FleetView
from headrace_state.records import UnreadableRecord, conservation_key
from headrace_telemetry.tasks import Tasks

log = structlog.get_logger(__name__)

ONLINE: Final = "online"
KEEP_S: Final = 5.0  # between two looks at what has to be written
LAST_WORDS_S: Final = 3.0  # to write them down at a stop, when NATS may be gone
MOST_GONE: Final = 64  # records of ingresses that are gone; one of them may yet come back
PAST: Final = "past"  # stands for all that were summed
LEASE: Final = "books"


class Conservation:
    """Handler of `GET .../audit`. Any number of controls may keep the same books."""

    def __init__(self, bus: Bus, state: Bucket, view: FleetView) -> None:
        self._bus = bus
        self._state = state
        self._view = view
        self._heard: dict[str, Terms] = {}
        self._kept: dict[str, Terms] = {}
        self._may_have_grown = True
        self._tasks = Tasks("conservation")
        view.on_ingress(self._hear)

    async def start(self) -> None:
        """Begin to write down what is heard."""
        self._tasks.forever(self._keep(), "keep")

    async def stop(self) -> None:
        """Write down the last words: an ingress that drained said them just before us."""
        await self._tasks.stop()
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                await self._bus.flush()
                await self._write_news()
        except (TimeoutError, BusError) as error:
            log.warning("the last request totals were not stored", reason=str(error))

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
            await self._write_news()
            if self._may_have_grown and not self._view.is_new:
                try:
                    await self._sum_up()
                    self._may_have_grown = False
                except (BusError, UnreadableRecord) as error:
                    log.info("old request totals could not be summed yet", reason=str(error))

    async def _write_news(self) -> None:
        for ingress_id, terms in list(self._heard.items()):
            if self._kept.get(ingress_id) != terms:
                await self._write(ingress_id, terms)

    async def _sum_up(self) -> None:
        """Put the oldest records of ingresses that are gone into one, in one atomic write.

        Raises UnreadableRecord for one of them, BusError.
        """
        records = await self._state.list(conservation_key(ONLINE))
        past_key = conservation_key(ONLINE, PAST)
        past = records.pop(past_key, None)
        old = self._old(records)
        lease = Lease(self._state, LEASE)
        if not old or not await lease.acquire():
            return
        terms = [_terms(record).with_its_ingress_gone() for record in old]
        total = Terms.sum([*terms, _terms(past)] if past else terms)
        values: dict[str, bytes | None] = {record.key: None for record in old}
        values[past_key] = json.dumps(asdict(total)).encode()
        revisions: dict[str, int | None] = {record.key: record.revision for record in old}
        revisions[past_key] = past.revision if past else None
        try:
            await lease.write(values, revisions)
        finally:
            await lease.release()

    def _old(self, records: Mapping[str, Record]) -> list[Record]:
        """Those of ingresses that are gone, past the MOST_GONE that spoke last."""
        present = {conservation_key(ONLINE, one) for one in self._heard}
        present |= {conservation_key(ONLINE, one) for one in self._view.live_ingresses()}
        gone = [record for key, record in records.items() if key not in present]
        gone.sort(key=lambda record: record.revision)
        return gone[: max(0, len(gone) - MOST_GONE)][: MAX_BATCH - 1]

    async def _write(self, ingress_id: str, terms: Terms) -> None:
        """Last word wins: every control hears the same ones."""
        key = conservation_key(ONLINE, ingress_id)
        value = json.dumps(asdict(terms)).encode()
        try:
            known = await self._state.get(key)
            if known is None:
                await self._state.create(key, value)
                self._may_have_grown = True
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
