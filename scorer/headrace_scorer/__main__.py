"""`python -m headrace_scorer --home H --iid I`: one instance until SIGTERM."""

from __future__ import annotations

import argparse
import sys

import structlog
import uvloop

from headrace_api.errors import HeadraceError
from headrace_api.home import Home
from headrace_scorer.instance import run
from headrace_scorer.settings import Settings
from headrace_telemetry.logs import configure
from headrace_telemetry.signals import asked_to_stop

log = structlog.get_logger(__name__)


def main() -> int:
    """Return the exit code: 0 after SIGTERM, 3 when the instance cannot become ready."""
    parser = argparse.ArgumentParser(prog="headrace_scorer")
    parser.add_argument("--home", required=True)
    parser.add_argument("--iid", required=True)
    chosen = parser.parse_args()
    configure("scorer")
    settings = Settings(home=Home.find(chosen.home), iid=chosen.iid)
    try:
        return uvloop.run(_until_signal(settings))
    except (HeadraceError, OSError) as error:
        log.error("the scorer cannot run", error=str(error))  # noqa: TRY400  (said in one sentence)
        return 1


async def _until_signal(settings: Settings) -> int:
    return await run(settings, asked_to_stop())


if __name__ == "__main__":
    sys.exit(main())
