"""The decisions of a real run, written down so that the pure functions can be asked again.

    GatewaySettings(make_dispatch=journaled(lines.append)) -> lines -> replay(lines)

Each line is one call of dispatch with plain values and what it decided; the first line of a
deployment carries the seed of its ties. Only tests and investigations pay for it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from typing import Any

from headrace_api.record import load
from headrace_bus.routing.queueing.dispatch import Dispatch, Heard, Overdue, WantChange
from headrace_bus.routing.queueing.queue_entry import Instance, QueueEntry
from headrace_bus.wire.heartbeat import InstanceHeartbeat
from headrace_bus.wire.instance_control import Backlog

OnDecision = Callable[[str], None]

_TIMES = ("arrived", "queue_deadline", "deadline", "run_timeout_s")


def journaled(on_decision: OnDecision) -> Callable[[str, int], Dispatch]:
    """What makes the dispatch of each deployment, for `GatewaySettings.make_dispatch`."""
    return lambda channel, seed: JournaledDispatch(channel, seed, on_decision)


class JournaledDispatch(Dispatch):
    """Dispatch that writes each call and its outcome, and decides nothing itself."""

    def __init__(self, channel: str, seed: int, on_decision: OnDecision) -> None:
        super().__init__(random.Random(seed))
        self._channel = channel
        self._on_decision = on_decision
        self._line("begin", [seed], None)

    def submit(self, entry: QueueEntry, now: float) -> Instance | None:
        made = super().submit(entry, now)
        times = {name: getattr(entry, name) for name in _TIMES}
        self._line("submit", [entry.request_id, times, now], made and made.iid)
        return made

    def next(self, now: float) -> QueueEntry | None:
        paused, waiting = self.paused, len(self.queue)
        made = super().next(now)
        if made is not None or waiting:
            bound = made and made.instance and [made.request_id, made.instance.iid]
            self._line("next", [now, paused], bound)
        return made

    def bind(self, entry: QueueEntry, instance: Instance, now: float) -> None:
        super().bind(entry, instance, now)
        times = {name: getattr(entry, name) for name in _TIMES}
        self._line("bind", [entry.request_id, times, instance.iid, now], None)

    def more_waiting(self, instance: Instance, now: float) -> Backlog:
        made = super().more_waiting(instance, now)
        self._line("more_waiting", [instance.iid, now], list(made))
        return made

    def answered(self, entry: QueueEntry, free: int) -> None:
        super().answered(entry, free)
        self._line("answered", [entry.request_id, free], None)

    def refused(self, entry: QueueEntry, free: int = 0) -> bool:
        made = super().refused(entry, free)
        self._line("refused", [entry.request_id, free], made)
        return made

    def recalls(self) -> list[QueueEntry]:
        made = super().recalls()
        if made:
            self._line("recalls", [], _ids(made))
        return made

    def turned_away(self, entry: QueueEntry) -> bool:
        made = super().turned_away(entry)
        self._line("turned_away", [entry.request_id], made)
        return made

    def unsent(self, entry: QueueEntry) -> None:
        super().unsent(entry)
        self._line("unsent", [entry.request_id], None)

    def disowned(self, entry: QueueEntry) -> None:
        super().disowned(entry)
        self._line("disowned", [entry.request_id], None)

    def kept(self, entry: QueueEntry) -> None:
        super().kept(entry)
        self._line("kept", [entry.request_id], None)

    def room_again(self, now: float) -> list[QueueEntry]:
        made = super().room_again(now)
        if made:
            self._line("room_again", [now], _ids(made))
        return made

    def retry(self, entry: QueueEntry) -> None:
        super().retry(entry)
        self._line("retry", [entry.request_id], None)

    def granted(self, iid: str, free: int) -> None:
        super().granted(iid, free)
        self._line("granted", [iid, free], None)

    def beat(self, heartbeat: InstanceHeartbeat, now: float) -> Heard:
        made = super().beat(heartbeat, now)
        self._line("beat", [heartbeat.plain(), now], [_ids(made.lost), _ids(made.again)])
        return made

    def suspect(self, iid: str) -> None:
        super().suspect(iid)
        self._line("suspect", [iid], None)

    def suspect_silent(self, now: float) -> None:
        super().suspect_silent(now)
        self._line("suspect_silent", [now], None)

    def remove(self, iid: str) -> list[QueueEntry]:
        made = super().remove(iid)
        self._line("remove", [iid], [one.request_id for one in made])
        return made

    def measured(self, iid: str, took_s: float) -> None:
        super().measured(iid, took_s)
        self._line("measured", [iid, took_s], None)

    def withdraw(self, entry: QueueEntry) -> Instance | None:
        made = super().withdraw(entry)
        self._line("withdraw", [entry.request_id], made and made.iid)
        return made

    def wants(self, now: float) -> list[WantChange]:
        made = super().wants(now)
        if made:
            self._line("wants", [now], _changes(made))
        return made

    def overdue(self, now: float) -> list[tuple[QueueEntry, Overdue]]:
        made = super().overdue(now)
        if made:
            late = [[entry.request_id, why.value] for entry, why in made]
            self._line("overdue", [now, self.cold_start.expected], late)
        return made

    def resume(self, cut_off_s: float, now: float) -> list[QueueEntry]:
        made = super().resume(cut_off_s, now)
        self._line("resume", [cut_off_s, now], [one.request_id for one in made])
        return made

    def _line(self, what: str, given: list[Any], outcome: object) -> None:
        self._on_decision(json.dumps([self._channel, what, given, outcome]))


def replay(lines: Iterable[str]) -> list[str]:
    """Ask the pure functions again; return each line whose outcome they do not repeat."""
    channels: dict[str, _Replayed] = {}
    differing = []
    for line in lines:
        channel, what, given, outcome = json.loads(line)
        if what == "begin":
            channels[channel] = _Replayed(given[0])
        elif channels[channel].again(what, given) != outcome:
            differing.append(line)
    return differing


class _Replayed:
    """One deployment's dispatch, driven by lines."""

    def __init__(self, seed: int) -> None:
        self._dispatch = Dispatch(random.Random(seed))
        self._tickets: dict[str, QueueEntry] = {}

    def again(self, what: str, given: list[Any]) -> object:
        dispatch, entries = self._dispatch, self._tickets
        match what, given:
            case "submit", [request_id, times, now]:
                entry = entries[request_id] = QueueEntry(request_id, **times)
                bound = dispatch.submit(entry, now)
                return bound and bound.iid
            case "bind", [request_id, times, iid, now]:
                copy = entries[request_id] = QueueEntry(request_id, **times)
                copy.abandoned = True
                dispatch.bind(copy, dispatch.instances[iid], now)
                return None
            case "next", [now, paused]:
                dispatch.paused = paused
                made = dispatch.next(now)
                return made and made.instance and [made.request_id, made.instance.iid]
            case "more_waiting", [iid, now]:
                return list(dispatch.more_waiting(dispatch.instances[iid], now))
            case "beat", [fields, now]:
                beat = load(InstanceHeartbeat, fields)
                return [_ids(one) for one in dispatch.beat(beat, now)]
            case "wants", [now]:
                return _changes(dispatch.wants(now))
            case "recalls", []:
                return _ids(dispatch.recalls())
            case "overdue", [now, expected]:
                dispatch.cold_start.expected = expected
                return [[entry.request_id, why.value] for entry, why in dispatch.overdue(now)]
            case "withdraw", [request_id]:
                holder = dispatch.withdraw(entries[request_id])
                return holder and holder.iid
            case "remove", [iid]:
                return _ids(dispatch.remove(iid))
            case "room_again", [now]:
                return _ids(dispatch.room_again(now))
            case "resume", [cut_off_s, now]:
                return _ids(dispatch.resume(cut_off_s, now))
            case (("granted" | "suspect" | "suspect_silent" | "measured"), [first, *rest]):
                return getattr(dispatch, what)(first, *rest)
            case (
                ("answered" | "refused" | "turned_away" | "unsent" | "disowned" | "kept" | "retry"),
                [request_id, *rest],
            ):
                return getattr(dispatch, what)(entries[request_id], *rest)
        raise ValueError(f"no decision is called {what!r}")


def _ids(entries: Iterable[QueueEntry]) -> list[str]:
    return [entry.request_id for entry in entries]


def _changes(changes: Iterable[WantChange]) -> list[list[object]]:
    return [[change.instance.iid, *change.backlog] for change in changes]
