"""`scripts/chaos [--minutes N] [--seed S]`: break the platform for a while and judge it."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path

from chaos.history import History
from chaos.plan import ALL, Fault, Target, steps
from chaos.rig import Options
from chaos.run import run


def main() -> int:
    """Exit code 1 when a rule was broken."""
    asked = _arguments()
    kinds = tuple(kind for kind in ALL if not asked.only or "-".join(kind) in asked.only)
    folder = asked.home or Path(tempfile.mkdtemp(prefix="headrace-chaos-"))
    options = Options(folder=folder, nodes=3 if asked.cluster else 1)
    history = History()
    history.say(f"seed {asked.seed}, {asked.minutes} min, in {folder}")
    seconds = asked.minutes * 60
    asyncio.run(run(steps(asked.seed, kinds), options, history, seconds=seconds, rate=asked.rate))
    if not history.broken:
        history.say("every rule held")
        return 0
    again = f"scripts/chaos --minutes {asked.minutes} --seed {asked.seed}"
    again += " --cluster" if asked.cluster else ""
    sys.stdout.write("\nBroken:\n" + "".join(f"  {one}\n" for one in history.broken))
    sys.stdout.write(f"The history is above, logs are in {folder / 'logs'}; again: {again}\n")
    return 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument("--home", type=Path, help="folder of the run; default: a temporary one")
    parser.add_argument("--rate", type=float, default=60.0, help="requests a second")
    parser.add_argument("--cluster", action="store_true", help="three NATS nodes")
    names = ["-".join((fault, target)) for fault in Fault for target in Target]
    parser.add_argument("--only", action="append", choices=names, metavar="FAULT-TARGET")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
