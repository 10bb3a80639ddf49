"""Whoever logs goes on, whatever becomes of the line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from headrace_telemetry.lines import Lines
from support.limits import room

FULL = Path("/dev/full")
LOGS = """
import sys
import structlog
from headrace_telemetry import logs
logs.configure("test")
log = structlog.get_logger()
log.warning("nobody reads this")
try:
    raise ValueError
except ValueError:
    log.exception("nor this")
sys.stdout.write("lives")
"""


def test_a_line_that_cannot_be_written_fails_nobody() -> None:
    with FULL.open("wb") as full:
        done = subprocess.run([sys.executable, "-c", LOGS], stdout=subprocess.PIPE, stderr=full)

    assert (done.returncode, done.stdout) == (0, b"lives")


def test_a_reader_that_has_gone_ends_nobody() -> None:
    command = [sys.executable, "-c", "import sys; sys.stdin.read()\n" + LOGS]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stderr is not None
        process.stderr.close()
        process.stderr = None
        out, _ = process.communicate(b"")

    assert (process.returncode, out) == (0, b"lives")


def test_a_line_behind_a_torn_one_stands_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        lines = Lines(file.fileno())
        assert lines.put(b"first\n")
        with room(9):
            assert not lines.put(b"second\n")
            assert not lines.put(b"third\n")
        assert lines.put(b"fourth\n")

    assert path.read_bytes() == b"first\nsec\nfourth\n"


def test_lost_lines_are_counted_once_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "log"
    script = f"""
import resource
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, most))
{LOGS}
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
log.info("told")
"""
    with path.open("wb") as file:
        subprocess.run(
            [sys.executable, "-c", script], stderr=file, stdout=subprocess.DEVNULL, check=True
        )

    told = [json.loads(line) for line in path.read_text().splitlines()]
    assert (told[0]["lines"], told[1]["event"]) == (2, "told")
