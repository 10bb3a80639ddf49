"""A short chaos run holds every rule, and a run whose answers are tampered with does not."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from chaos.cutting_proxy import Switch
from chaos.history import History
from chaos.plan import ALL, Fault, Target, steps
from chaos.rig import Options
from chaos.run import run

SHORT_S = 45.0
SEED = 11
QUICK = (
    *((Fault.KILL, one) for one in (Target.WORKER, Target.SCORER, Target.INGRESS)),
    *((Fault.FREEZE, one) for one in (Target.SCORER, Target.NATS)),
    (Fault.KILL, Target.NATS),
    (Fault.CUT, Target.INGRESS),
    (Fault.CUT, Target.SCORER),
    (Fault.KEYS, Target.PLATFORM),
)
MUTATED_S = 12.0
MUTATED_RATE = 150.0  # answers in the mutated runs: some 1,800, so that one in 1,000 is there
SWAPS = """
import asyncio, json
seen = 0
kept = None
def init(): pass
async def run(raw):
    global seen, kept
    asked = json.loads(raw)
    await asyncio.sleep(0.02)
    seen += 1
    if seen % 500 == 499:
        kept = asked
    answer = kept if seen % 500 == 0 and kept else asked
    return answer
"""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


async def test_a_short_run_breaks_no_rule(tmp_path: Path) -> None:
    history = History(loud=False)

    await run(steps(SEED, QUICK), Options(folder=tmp_path), history, seconds=SHORT_S, rate=60.0)

    assert history.broken == [], "\n".join(history.lines)


@pytest.mark.parametrize(
    ("mutation", "said"),
    [({"drop_one_in": 1000}, "not answered"), ({"script": SWAPS}, "not answered")],
    ids=["drop", "swap"],
)
async def test_one_wrong_answer_in_a_thousand_turns_it_red(
    tmp_path: Path, mutation: dict[str, object], said: str
) -> None:
    history = History(loud=False)
    options = Options(folder=tmp_path, **mutation)  # type: ignore[arg-type]  # one of two fields

    await run([], options, history, seconds=MUTATED_S, rate=MUTATED_RATE)

    assert any(said in one for one in history.broken), "\n".join(history.lines)


def test_a_plan_is_its_seeds_alone_and_leaves_nothing_out() -> None:
    first, again = (list(itertools.islice(steps(5), 100)) for _ in range(2))
    other = list(itertools.islice(steps(6), 100))
    assert first == again != other
    assert {(one.fault, one.target) for one in first} == set(ALL)


def test_a_thinning_proxy_drops_the_whole_answer_and_nothing_else() -> None:
    answer = b"PUB _INBOX_ingress.x.1  5\r\nhello\r\n"  # as our client writes no reply
    other = b"PUB heartbeat.e.d.i 2\r\nhi\r\n"
    assert Switch(drop_one_in=2).thinned(other + answer + other + answer + other) == (
        other + answer + other + other
    )
