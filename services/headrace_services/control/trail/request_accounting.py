"""The books of conservation: what every ingress says became of its requests, kept past its end.

An ingress counts for itself and says so in each heartbeat. Control keeps the last word of each in
`state`, so that one that vanished stays in the sum, with what it had in flight as lost. What it
took after its last heartbeat is in no term on either side. An audit waits for a heartbeat of each
live ingress, so that whatever was answered before the call is in it.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import asdict
from typing import Final

import structlog

from headrace_bus.client.connection import Bus
from headrace_bus.client.message import Message
from headrace_bus.errors import BusError, MalformedEnvelope
from headrace_bus.store.bucket import Bucket, Record
from headrace_bus.wire.conservation import Terms
from headrace_bus.wire.heartbeat import IngressHeartbeat
from headrace_bus.wire.subjects import all_ingress_heartbeats
from headrace_services.control.arm.request import Answer, Call
from headrace_state.records import UnreadableRecord, conservation_key
from headrace_telemetry.clock import monotonic
from headrace_telemetry.tasks import Tasks

log = structlog.get_logger(__name__)

ONLINE: Final = "online"
LIVE_S: Final = 2.0  # since its last heartbeat; after that what it had in flight counts as lost
WAIT_S: Final = LIVE_S  # for the ingresses' next word; who says none by then is not live
KEEP_S: Final = 5.0  # between two looks at what has to be written


class Conservation:
    """Handler of `GET .../audit`. Any number of controls may keep the same books."""

    def __init__(self, bus: Bus, state: Bucket) -> None:
        self._bus = bus
        self._state = state
        self._heard: dict[str, tuple[Terms, float]] = {}
        self._kept: dict[str, Terms] = {}
        self._next_beat = asyncio.Event()
        self._listening_s = 0.0
        self._tasks = Tasks("conservation")

    async def start(self) -> None:
        """Raises BusDisconnected."""
        self._bus.on_reconnect(self._listen_anew)
        await self._bus.subscribe(all_ingress_heartbeats(), self._hear)
        self._listen_anew()
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
        now_s = monotonic()
        for ingress_id, (terms, heard_s) in self._heard.items():
            known[conservation_key(ONLINE, ingress_id)] = terms
            if now_s - heard_s <= LIVE_S:
                continue
            known[conservation_key(ONLINE, ingress_id)] = terms.with_its_ingress_gone()
        for key in known.keys() - heard:
            known[key] = known[key].with_its_ingress_gone()
        return Terms.sum(known.values())

    async def audit(self, call: Call) -> Answer:
        """Each lane's terms and whether they balance, no older than the call."""
        await self._hear_all_anew()
        lanes = {ONLINE: await self.online()}
        total = Terms.sum(lanes.values())
        body = asdict(total) | {
            "balanced": all(terms.balanced for terms in lanes.values()),
            "lanes": {
                name: asdict(terms) | {"balanced": terms.balanced} for name, terms in lanes.items()
            },
        }
        return Answer(body=body)

    async def live_ingresses(self) -> int:
        """How many spoke within LIVE_S; where none did, one is waited for as long."""
        if not self._live(monotonic()):
            with suppress(TimeoutError):
                async with asyncio.timeout(WAIT_S):
                    await self._next_beat.wait()
        return len(self._live(monotonic()))

    def _live(self, now_s: float) -> set[str]:
        return {one for one, (_, heard_s) in self._heard.items() if now_s - heard_s <= LIVE_S}

    async def _hear_all_anew(self) -> None:
        """Returns once each live ingress has spoken again, or after WAIT_S."""
        # A heartbeat that already lies at the server may be older than the call's last answer.
        await self._bus.flush()
        since_s = monotonic()
        live = self._live(since_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT_S):
                while self._is_new or any(self._heard[one][1] <= since_s for one in live):
                    await self._next_beat.wait()

    @property
    def _is_new(self) -> bool:
        """Whether an ingress may live that had no time yet to say so."""
        return monotonic() - self._listening_s <= LIVE_S

    def _listen_anew(self) -> None:
        self._listening_s = monotonic()

    def _hear(self, message: Message) -> None:
        try:
            beat = IngressHeartbeat.decode(message.data)
            self._heard[beat.ingress_id] = Terms.decode(beat.online), monotonic()
        except MalformedEnvelope as error:
            log.warning("heartbeat is malformed", subject=message.subject, reason=str(error))
            return
        self._next_beat.set()
        self._next_beat = asyncio.Event()

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(KEEP_S)
            for ingress_id, (terms, _) in list(self._heard.items()):
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
            log.info("the books are written later", ingress=ingress_id, reason=str(error))
            return
        self._kept[ingress_id] = terms


def _terms(record: Record) -> Terms:
    try:
        return Terms.decode(json.loads(record.value))
    except (ValueError, AttributeError, RecursionError) as error:  # a list has no items
        raise UnreadableRecord(Terms.__name__, record.key, str(error)) from error
