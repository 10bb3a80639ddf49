"""A short chaos run holds every rule, and a run whose answers are tampered with does not."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from chaos.cutting_proxy import Switch, Tamper
from chaos.history import History
from chaos.loads import OnlineLoad
from chaos.plan import ALL, Fault, Target, steps
from chaos.rig import Options
from chaos.run import run
from headrace_bus.wire.envelope import Answer, AnswerKind, encode_answer

SHORT_S = 45.0
SEED = 11
QUICK = (
    *((Fault.KILL, one) for one in (Target.WORKER, Target.SCORER, Target.INGRESS)),
    *((Fault.FREEZE, one) for one in (Target.SCORER, Target.NATS)),
    (Fault.KILL, Target.NATS),
    (Fault.CUT, Target.INGRESS),
    (Fault.CUT, Target.SCORER),
    (Fault.DROP, Target.INGRESS),
    (Fault.DROP, Target.SCORER),
    (Fault.KEYS, Target.PLATFORM),
)
MUTATED = 1_200  # requests of a mutated run: enough that one in 1,000 is there
MUTATED_RATE = 100.0
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


async def test_a_short_run_breaks_no_rule(tmp_path: Path) -> None:
    history = History(loud=False)

    await run(steps(SEED, QUICK), Options(folder=tmp_path), history, seconds=SHORT_S, rate=60.0)

    assert history.broken == [], "\n".join(history.lines)


@pytest.mark.parametrize(
    ("tamper", "told"), [(Tamper.DROP, "408"), (Tamper.SWAP, "the answer of another")]
)
async def test_one_wrong_answer_in_a_thousand_turns_it_red(
    tmp_path: Path, tamper: Tamper, told: str
) -> None:
    """On the wire between scorers and ingress; of the platform nothing is changed."""
    history = History(loud=False)
    options = Options(folder=tmp_path, tamper=tamper)

    await run(
        [],
        options,
        history,
        seconds=0.0,
        rate=MUTATED_RATE,
        requests=MUTATED,
        kinds=[OnlineLoad],
    )

    assert any("not answered" in one for one in history.broken), "\n".join(history.lines)
    assert any(told in line for line in history.lines), "\n".join(history.lines)


def test_a_plan_is_its_seeds_alone_and_leaves_nothing_out() -> None:
    first, again = (list(itertools.islice(steps(5), 100)) for _ in range(2))
    other = list(itertools.islice(steps(6), 100))
    assert first == again != other
    assert {(one.fault, one.target) for one in first} == set(ALL)


def test_a_tampering_proxy_drops_or_swaps_whole_answers_and_nothing_else() -> None:
    first, second = (published(number) for number in (1, 2))
    other = b"PUB heartbeat.e.d.i  2\r\nhi\r\n"
    sent = other + first + other + second + other

    dropped = Switch(Tamper.DROP, one_in=2).tampered_with(sent)
    swapped = Switch(Tamper.SWAP, one_in=2).tampered_with(sent)

    assert dropped == other + first + other + other
    assert swapped == other + first + other + published(2, body=b"body 1") + other


def published(number: int, body: bytes = b"") -> bytes:
    """An answer as our client writes it."""
    answer = Answer(
        AnswerKind.DONE, f"id {number}", 200, 10, 1, 0, "", 7, b"", body or b"body %d" % number
    )
    payload = encode_answer(answer)
    return b"PUB _INBOX_ingress.x.%d  %d\r\n%b\r\n" % (number, len(payload), payload)
