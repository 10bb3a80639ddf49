"""Carries out one step of a plan on a rig, and says what it did."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from chaos.plan import Fault, Step, Target
from chaos.rig import ENDPOINT, Rig
from chaos.wrong_clock import WrongClock
from support.platform import CommandFailed, until_async

BACK_S: Final = 40.0  # until an ingress that was ended listens again
OURS: Final = (Target.SUPERVISOR, Target.CONTROL, Target.INGRESS, Target.SCORER)
DROPPED_S: Final = 0.3  # shorter than anybody is held for silent
BLOCK_BYTES: Final = 1024 * 1024


class Striker:
    """Strikes a rig, one step at a time."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._history = rig.history
        self._versions = 1
        self.revoked: list[str] = []
        self._do: dict[Fault, Callable[[Step], Awaitable[None]]] = {
            Fault.KILL: self._kill,
            Fault.FREEZE: self._freeze,
            Fault.RESTART: self._restart,
            Fault.CUT: self._cut,
            Fault.DROP: self._drop,
            Fault.FILL: self._fill,
            Fault.SHIFT: self._shift,
            Fault.UPDATE: self._update,
            Fault.KEYS: self._keys,
        }

    async def strike(self, step: Step) -> None:
        """Pause, do it, undo it; a part that is not there is skipped with words."""
        if reason := self._rig.skipped.get(str(step.fault)):
            self._history.say(f"{step}: skipped, {reason}")
            return
        await asyncio.sleep(step.pause_s)
        self._history.say(str(step))
        await self._do[step.fault](step)

    async def _kill(self, step: Step) -> None:
        await self._end(step, signal.SIGKILL)

    async def _restart(self, step: Step) -> None:
        await self._end(step, signal.SIGTERM)

    async def _end(self, step: Step, how: signal.Signals) -> None:
        pid = await self._chosen(step)
        if not pid:
            return
        if step.target is Target.NATS:
            clustered = self._rig.options.nodes > 1 and how is signal.SIGTERM
            await self._rig.nats.again(pid, signal.SIGUSR2 if clustered else how)
            return
        since_s = self._history.now_s
        _signal(pid, how)
        if step.target is Target.SUPERVISOR:
            await self._rig.up()
        if step.target is Target.INGRESS:
            await self._ingress_back(pid)
            self._history.down.append((since_s, self._history.now_s))

    async def _freeze(self, step: Step) -> None:
        pid = await self._chosen(step)
        if not pid:
            return
        _signal(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(step.hold_s)
        finally:
            _signal(pid, signal.SIGCONT)

    async def _cut(self, step: Step) -> None:
        if not (name := self._client(step)):
            return
        self._rig.switch.cut(name)
        try:
            await asyncio.sleep(step.hold_s)
        finally:
            self._rig.switch.heal(name)

    async def _drop(self, step: Step) -> None:
        """What came together in a moment is lost with the connection."""
        if not (name := self._client(step)):
            return
        self._rig.switch.cut(name)
        try:
            await asyncio.sleep(DROPPED_S)
            self._rig.switch.end(name)
        finally:
            self._rig.switch.heal(name)

    def _client(self, step: Step) -> str:
        names = self._rig.clients(step.target)
        if not names:
            self._history.say(f"  no connection of a {step.target}")
            return ""
        return names[step.pick % len(names)]

    async def _fill(self, step: Step) -> None:
        file = self._rig.platform.home / "filler"
        since_s = self._history.now_s
        await asyncio.to_thread(_fill_disk, file)
        try:
            await asyncio.sleep(step.hold_s)
        finally:
            file.unlink()
            self._history.full.append((since_s, self._history.now_s))
        # nats-server turns JetStream off when its disk was full, until it is started again: the
        # supervisor does that for its own server, the owner for an outside one.
        for pid in self._rig.nats.pids:
            await self._rig.nats.again(pid, signal.SIGTERM)

    async def _shift(self, step: Step) -> None:
        self._history.say(f"  by {step.shift_s} s")
        for target in OURS:
            for pid in await asyncio.to_thread(self._rig.pids, target):
                self._history.rule(WrongClock.reaches(pid), f"a {target} has a clock of its own")
        await self._rig.shift_clock(step.shift_s)
        try:
            await asyncio.sleep(step.hold_s)
        finally:
            await self._rig.shift_clock(0)

    async def _update(self, step: Step) -> None:
        self._versions += 1
        await self._rig.update(self._versions)

    async def _keys(self, step: Step) -> None:
        """The load uses the primary key; the secondary one is made anew."""
        shown = ("online-endpoint", "get-credentials", "-n", ENDPOINT)
        words = (*shown, "--query", "secondaryKey", "-o", "tsv")
        old = (await self._rig.command(*words)).strip()
        renew = ("online-endpoint", "regenerate-keys", "-n", ENDPOINT, "--key-type", "secondary")
        await self._rig.command(*renew)
        new = (await self._rig.command(*words)).strip()
        self._history.rule(bool(old) and new != old, "a key made anew is another")
        self.revoked.append(old)

    async def _chosen(self, step: Step) -> int:
        pids = await asyncio.to_thread(self._rig.pids, step.target)
        if not pids:
            self._history.say(f"  there is no {step.target}")
            return 0
        return pids[step.pick % len(pids)]

    async def _ingress_back(self, old: int) -> None:
        """Wait until another ingress answers, by the supervisor's own word."""
        await until_async(lambda: self._replaced(old), "another ingress", BACK_S)

    def _replaced(self, old: int) -> bool:
        if self._rig.pids(Target.INGRESS) in ([], [old]):
            return False
        with suppress(CommandFailed):
            return bool(self._rig.platform.status()["state"] == "running")
        return False


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _fill_disk(file: Path) -> None:
    block = bytes(BLOCK_BYTES)
    with suppress(OSError), file.open("wb", buffering=0) as out:
        while out.write(block):
            pass
