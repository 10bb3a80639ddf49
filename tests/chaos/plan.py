"""Which fault strikes what, in which order: a pure function of the seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Fault(StrEnum):
    """What is done to a target."""

    KILL = "kill"  # SIGKILL
    FREEZE = "freeze"  # SIGSTOP, and SIGCONT after `hold_s`
    RESTART = "restart"  # SIGTERM, or a lame duck's end for a NATS node of a cluster
    CUT = "cut"  # its connection to NATS carries nothing for `hold_s`
    DROP = "drop"  # its connection to NATS ends, and what was on its way is lost
    FILL = "fill"  # the disk of the home is full for `hold_s`
    SHIFT = "shift"  # the wall clock of our processes is wrong for `hold_s`
    UPDATE = "update"  # a rolling update, no fault at all
    KEYS = "keys"  # the secondary key is made anew; the old one must be refused


class Target(StrEnum):
    WORKER = "worker"
    SCORER = "scorer"
    INGRESS = "ingress"
    CONTROL = "control"
    NATS = "nats"
    SUPERVISOR = "supervisor"
    PLATFORM = "platform"


PROCESSES: Final = (Target.WORKER, Target.SCORER, Target.INGRESS, Target.CONTROL, Target.NATS)
CLIENTS: Final = (Target.SCORER, Target.INGRESS, Target.CONTROL)
ALL: Final = (
    *((Fault.KILL, one) for one in (*PROCESSES, Target.SUPERVISOR)),
    *((Fault.FREEZE, one) for one in PROCESSES),
    *((Fault.RESTART, one) for one in PROCESSES if one is not Target.WORKER),
    *((Fault.CUT, one) for one in CLIENTS),
    *((Fault.DROP, one) for one in CLIENTS),
    (Fault.FILL, Target.PLATFORM),
    (Fault.SHIFT, Target.PLATFORM),
    (Fault.UPDATE, Target.PLATFORM),
    (Fault.KEYS, Target.PLATFORM),
)
# A request has 5 s in the queue and 10 s in `run`: what is shorter must fail none.
HOLD_S: Final = (0.5, 4.0)
PAUSE_S: Final = (0.3, 1.5)
SHIFT_S: Final = (-7200, -61, 61, 7200, 86_400)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One stroke. `pick` chooses among the targets that are there, modulo their number."""

    number: int
    fault: Fault
    target: Target
    pick: int
    hold_s: float
    pause_s: float
    """Between the whole platform and the stroke."""
    shift_s: int

    def __str__(self) -> str:
        held = f" for {self.hold_s:.1f} s" if self.fault in _HELD else ""
        return f"#{self.number} {self.fault} {self.target}{held}"


_HELD: Final = (Fault.FREEZE, Fault.CUT, Fault.FILL, Fault.SHIFT)


def steps(seed: int, kinds: tuple[tuple[Fault, Target], ...] = ALL) -> Iterator[Step]:
    """Endless; every kind comes once before any comes again."""
    rng = random.Random(seed)
    number = 0
    while True:
        order = list(kinds)
        rng.shuffle(order)
        for fault, target in order:
            number += 1
            yield Step(
                number=number,
                fault=fault,
                target=target,
                pick=rng.randrange(1000),
                hold_s=round(rng.uniform(*HOLD_S), 2),
                pause_s=round(rng.uniform(*PAUSE_S), 2),
                shift_s=rng.choice(SHIFT_S),
            )
