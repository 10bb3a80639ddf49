"""Second copies of requests that take long: sent to another instance, the first answer counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Protocol

from headrace_bus.routing.exchange.call import Call, Deliver, Incoming, Result
from headrace_bus.routing.exchange.metrics import ChannelMetrics, HedgeEvent
from headrace_bus.routing.exchange.refusals import Refusal
from headrace_bus.routing.exchange.request_id import new_request_id
from headrace_bus.routing.queueing.dispatch import Dispatch
from headrace_bus.routing.queueing.hedge import Declined, Hedge


class Owner(Protocol):
    """What copies need of their channel."""

    dispatch: Dispatch
    metrics: ChannelMetrics

    def copy(self, incoming: Incoming, deliver: Deliver) -> Call: ...
    def send(self, call: Call) -> None: ...
    def stop(self, call: Call) -> None: ...


class HedgedCopies:
    """The hedges of one channel, for a deployment with headrace.hedge that is idempotent."""

    def __init__(self, owner: Owner, clock: Callable[[], float]) -> None:
        self._owner = owner
        self._clock = clock
        self._hedge = Hedge()
        self._copies: dict[str, Call] = {}
        """By the id of the request they double."""
        self._loop = asyncio.get_running_loop()

    def watched(self, deliver: Deliver) -> Deliver:
        """The same receiver, behind which the copy ends with its request."""

        def first(call: Call, result: Result) -> None:
            self.drop(call)
            deliver(call, result)

        return first

    def started(self, call: Call) -> None:
        """The request was sent: look again after the p95. Neither copies nor retries count."""
        if call.attempt > 1:
            return
        self._hedge.budget.executed(call.sent)
        after_s = self._hedge.times.value_s
        if after_s is not None:
            self._loop.call_later(after_s, self._late, call)

    def answered(self, call: Call, took_s: float) -> None:
        """The model answered a request, or a copy, `took_s` after it was sent."""
        if call.attempt == 1 and not call.abandoned:
            self._hedge.times.add(took_s)

    def drop(self, call: Call) -> None:
        """The request has its end: its copy is not wanted any more."""
        copy = self._copies.pop(call.request_id, None)
        if copy is not None:
            self._cancel(copy)

    def _late(self, call: Call) -> None:
        instance, dispatch = call.instance, self._owner.dispatch
        if call.done or call.abandoned or call.streaming or call.attempt > 1:
            return
        if instance is None or call.request_id in self._copies:
            return
        now = self._clock()
        other = self._hedge.choose(dispatch, instance, now)
        if isinstance(other, Declined):
            if other is Declined.BUDGET:
                self._owner.metrics.hedged(HedgeEvent.REFUSED)
            return
        doubled = call.incoming._replace(request_id=new_request_id())
        copy = self._owner.copy(doubled, partial(self._answer, call))
        # Nobody waits for a copy: lost, refused or late, it ends without a word or a retry.
        copy.ended = copy.abandoned = True
        copy.attempt = 2
        self._copies[call.request_id] = copy
        dispatch.bind(copy, other, now)
        self._owner.metrics.hedged(HedgeEvent.SENT)
        self._owner.send(copy)

    def _answer(self, call: Call, copy: Call, result: Result) -> None:
        if isinstance(result, Refusal) or call.done or call.streaming:
            return  # the request itself goes on, or was faster
        self._owner.metrics.hedged(HedgeEvent.WON)
        self._copies.pop(call.request_id, None)
        self._overtaken(call)
        call.spool = copy.spool
        call.resolve(result)
        self._cancel(call)

    def _overtaken(self, call: Call) -> None:
        """Its own time will never be known, but that it is long, and where."""
        if call.instance is not None:
            took_s = self._clock() - call.sent
            self._hedge.times.add(took_s)
            self._owner.dispatch.measured(call.instance.iid, took_s)

    def _cancel(self, loser: Call) -> None:
        if loser.instance is not None:
            self._owner.metrics.hedged(HedgeEvent.CANCELLED)
        self._owner.stop(loser)
