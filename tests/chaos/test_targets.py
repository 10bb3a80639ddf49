"""Issue 4's targets: 20 ms async model, two instances, 200 requests a second, no client retries."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from chaos import checks
from chaos.history import History
from chaos.lanes import OnlineLane
from chaos.plan import Target
from chaos.rig import Options, Rig

RATE = 200.0
KILLS = 8
EVERY_S = 2.0
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


async def under_load(options: Options, work: Callable[[Rig], Awaitable[None]]) -> History:
    """Do the work while 200 requests a second come in; every answer must be right."""
    history = History(loud=False)
    async with Rig(options, history) as rig:
        lane = OnlineLane(rig.url, rig.key, rate=RATE, began=history.began)
        await lane.start()
        try:
            await work(rig)
        finally:
            await lane.stop()
        checks.every_answer_right(history, lane)
        assert not await rig.whole()
        await checks.books_balance(rig, lane)
    return history


async def test_a_scorer_killed_every_two_seconds_fails_no_request(tmp_path: Path) -> None:
    async def kill_in_turn(rig: Rig) -> None:
        """The one that has lived longest; later than after 2 s where the other still starts."""
        for _ in range(KILLS):
            await asyncio.sleep(EVERY_S)
            assert not await rig.whole()
            scorers = await asyncio.to_thread(rig.pids, Target.SCORER)
            oldest = min(scorers, key=_started)
            os.kill(oldest, signal.SIGKILL)

    history = await under_load(Options(folder=tmp_path, concurrent=20), kill_in_turn)

    assert history.broken == [], "\n".join(history.lines)
    told = (tmp_path / "logs" / "ingress.log").read_text()
    assert told.count("disconnected: ") >= KILLS, "known by the server's word, not by silence"


@pytest.mark.full
async def test_a_lame_ducks_end_of_each_node_of_a_cluster_fails_no_request(tmp_path: Path) -> None:
    async def restart_each(rig: Rig) -> None:
        for pid in rig.nats.pids:
            await asyncio.sleep(EVERY_S)
            await rig.nats.again(pid, signal.SIGUSR2)

    history = await under_load(Options(folder=tmp_path, nodes=3, concurrent=20), restart_each)

    assert history.broken == [], "\n".join(history.lines)


def _started(pid: int) -> int:
    """Ticks from boot to the process' start."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
