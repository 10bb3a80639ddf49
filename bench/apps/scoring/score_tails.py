"""A model that takes as long as the request says; ten times as long in a worker that was slowed.

BENCH_SLOWED names a file that holds the pid of the slowed worker, or nothing.
"""

import json
import os
import time
from pathlib import Path

SLOWED = Path(os.environ["BENCH_SLOWED"])
FACTOR = 10


def init():
    pass


def run(raw_data):
    asked = json.loads(raw_data)
    slowed = SLOWED.read_text() == str(os.getpid())
    time.sleep(asked["sleep_s"] * (FACTOR if slowed else 1))
    return {"pid": os.getpid()}
