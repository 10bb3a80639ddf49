"""A model that takes as long as the request says; ten times as long in a worker that was slowed.

BENCH_SLOWED names a file that holds the pid of the slowed worker, or nothing. Where BENCH_RUNS
names a folder, the seconds asked of each run are written down in its file `log`.
"""

import json
import os
import time
from pathlib import Path

SLOWED = Path(os.environ["BENCH_SLOWED"])
FACTOR = 10


def init():
    global log
    folder = os.environ.get("BENCH_RUNS")
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    log = os.open(Path(folder, "log"), flags, 0o600) if folder else None


def run(raw_data):
    asked = json.loads(raw_data)
    slowed = SLOWED.read_text() == str(os.getpid())
    time.sleep(asked["sleep_s"] * (FACTOR if slowed else 1))
    if log is not None:
        os.write(log, f"{asked['sleep_s']}\n".encode())
    return {"pid": os.getpid()}
