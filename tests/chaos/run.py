"""One chaos run: a rig under load, a plan's steps one after the other, then the rules."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Sequence
from typing import Final

from chaos import checks
from chaos.history import History
from chaos.loads import LANES, Load
from chaos.plan import Step
from chaos.rig import Options, Rig
from chaos.strokes import Striker

SHARE: Final = 0.05  # of the first load's rate, for each of the others


async def run(
    plan: Iterable[Step],
    options: Options,
    history: History,
    *,
    seconds: float,
    rate: float,
    requests: int = 0,
    kinds: Sequence[type[Load]] = LANES,
) -> History:
    """Strike until the time is up; the history says which rules were broken.

    The first kind of load has the rate, the others a share of it. It goes on until so many requests
    of the first have an outcome, which a slow machine takes longer for.
    """
    async with Rig(options, history) as rig:
        for what, why in rig.skipped.items():
            history.say(f"{what} is skipped: {why}")
        before = await asyncio.to_thread(checks.sizes, rig)
        rates = itertools.chain([rate], itertools.repeat(SHARE * rate))
        loads = [
            kind(rig.url, rig.key, rate=its, began=history.began)
            for kind, its in zip(kinds, rates, strict=False)
        ]
        first, striker = loads[0], Striker(rig)
        await asyncio.gather(*(load.start() for load in loads))
        try:
            await _strike(rig, striker, plan, history.now_s + seconds)
            while first.answered + len(first.misses) < requests:  # noqa: ASYNC110  (no event each)
                await asyncio.sleep(0.1)
        finally:
            await asyncio.gather(*(load.stop() for load in loads))
        history.say(f"the load was held up for {first.held_up_s:.1f} s by its own machine")
        for load in loads:
            history.say(f"{load.name}: {load.answered} answers right, {len(load.misses)} missing")
            checks.every_answer_right(history, load)
        await _afterwards(rig, striker, loads, before)
    return history


async def _strike(rig: Rig, striker: Striker, plan: Iterable[Step], until_s: float) -> None:
    history = rig.history
    for step in plan:
        if history.now_s > until_s:
            return
        try:
            await striker.strike(step)
        except (AssertionError, TimeoutError) as error:
            history.rule(False, f"{step}: {str(error)[-600:] or repr(error)}")
        struck_s = history.now_s
        missing = await rig.whole()
        if not history.rule(not missing, f"{step}: not whole again, wanted {missing}"):
            return
        history.say(f"  whole again after {history.now_s - struck_s:.1f} s")
    await asyncio.sleep(max(0.0, until_s - history.now_s))


async def _afterwards(
    rig: Rig, striker: Striker, loads: Iterable[Load], before: dict[int, checks.Size]
) -> None:
    missing = await rig.whole()
    if not rig.history.rule(not missing, f"not whole at the end: wanted {missing}"):
        return
    await checks.books_balance(rig, *loads)
    await checks.keys_hold(rig, striker.revoked)
    await asyncio.to_thread(checks.nothing_leaked, rig, before)
