"""Second copies of requests that take long: sent to another instance, the first answer counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Protocol

from headrace_bus.routing.call import Call, Deliver, Incoming, Result
from headrace_bus.routing.dispatch import Dispatch
from headrace_bus.routing.edge import new_request_id
from headrace_bus.routing.hedge import Hedge
from headrace_bus.routing.outcome import Refusal


class Owner(Protocol):
    """What copies need of their lane."""

    dispatch: Dispatch

    def copy(self, incoming: Incoming, deliver: Deliver) -> Call: ...
    def send(self, call: Call) -> None: ...
    def stop(self, call: Call) -> None: ...


class Copies:
    """The hedges of one lane, for a deployment with headrace.hedge that is idempotent."""

    def __init__(self, owner: Owner, clock: Callable[[], float]) -> None:
        self._owner = owner
        self._clock = clock
        self._hedge = Hedge()
        self._copies: dict[str, Call] = {}
        """By the id of the request they double."""
        self._loop = asyncio.get_running_loop()
        self.sent = 0
        self.won = 0

    def watched(self, deliver: Deliver) -> Deliver:
        """The same receiver, behind which the copy ends with its request."""

        def first(call: Call, result: Result) -> None:
            self.drop(call)
            deliver(call, result)

        return first

    def started(self, call: Call) -> None:
        """The request was sent: look again after the p95."""
        self._hedge.budget.executed(call.sent)
        after_s = self._hedge.times.value_s
        if call.attempt == 1 and after_s is not None:
            self._loop.call_later(after_s, self._late, call)

    def answered(self, took_s: float) -> None:
        self._hedge.times.add(took_s)

    def drop(self, call: Call) -> None:
        """The request has its end: its copy is not wanted any more."""
        copy = self._copies.pop(call.request_id, None)
        if copy is not None:
            self._owner.stop(copy)

    def _late(self, call: Call) -> None:
        instance, dispatch = call.instance, self._owner.dispatch
        if call.done or call.abandoned or call.streaming or call.attempt > 1:
            return
        if instance is None or dispatch.queue or call.request_id in self._copies:
            return
        other = dispatch.another(instance)
        usable = [one for one in dispatch.instances.values() if one.usable]
        used = sum(len(one.open) + one.others for one in usable)
        now, slots = self._clock(), sum(one.slots for one in usable)
        if other is None or not self._hedge.copies(now=now, used=used, slots=slots):
            return
        doubled = call.incoming._replace(request_id=new_request_id())
        copy = self._owner.copy(doubled, partial(self._answer, call))
        # Nobody waits for a copy: lost, refused or late, it ends without a word or a retry.
        copy.ended = copy.abandoned = True
        copy.attempt = 2
        self._copies[call.request_id] = copy
        dispatch.bind(copy, other, now)
        self.sent += 1
        self._owner.send(copy)

    def _answer(self, call: Call, copy: Call, result: Result) -> None:
        if isinstance(result, Refusal) or call.done or call.streaming:
            return  # the request itself goes on, or was faster
        self.won += 1
        self._copies.pop(call.request_id, None)
        call.resolve(result)
        self._owner.stop(call)
