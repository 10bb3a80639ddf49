"""2 GiB go up and come down again while the memory of control and of the command stays flat."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import pytest

from headrace_api.home import Home
from support.platform import HEADRACE, Platform

pytestmark = [pytest.mark.timeout(900), pytest.mark.full]
SIZE_BYTES: Final = 2 * 1024**3
PIECE_BYTES: Final = 8 * 1024**2
MAX_GROWTH_BYTES: Final = 64 * 1024**2
SAMPLE_S: Final = 0.05


@dataclass(slots=True)
class Growth:
    """How far a process' resident memory rose above its first sample, bytes."""

    first: int = 0
    peak: int = 0

    def take(self, process: psutil.Process) -> None:
        try:
            now = process.memory_info().rss
        except psutil.NoSuchProcess:
            return
        self.first = self.first or now
        self.peak = max(self.peak, now)

    @property
    def bytes(self) -> int:
        return self.peak - self.first


@contextmanager
def watched(pid: int) -> Iterator[Growth]:
    growth, over, process = Growth(), threading.Event(), psutil.Process(pid)
    growth.take(process)

    def look() -> None:
        while not over.wait(SAMPLE_S):
            growth.take(process)

    thread = threading.Thread(target=look, name="memory")
    thread.start()
    try:
        yield growth
    finally:
        over.set()
        thread.join()


def grown(platform: Platform, *words: str) -> tuple[Growth, Growth]:
    """Runs a command; the growth of control and of the command beyond one that does little."""
    small = _peak_of(platform, "model", "list")
    (control,) = platform.pids("headrace", "run", "control")
    with watched(control) as server:
        peak = _peak_of(platform, *words)
    return server, Growth(first=small, peak=peak)


def _peak_of(platform: Platform, *words: str) -> int:
    """The highest resident memory of one command, bytes; its end must be good."""
    environment = os.environ | {"HEADRACE_HOME": str(platform.home)}
    command: Sequence[str] = [str(HEADRACE), *words]
    peak = 0
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as child:
        while child.poll() is None:
            peak = max(peak, _high_water(child.pid))
            time.sleep(SAMPLE_S / 5)
    assert child.returncode == 0, command
    return peak


def _high_water(pid: int) -> int:
    """VmHWM, bytes; not what wait4 tells, which counts the parent before the exec too."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def write_random(path: Path) -> str:
    """Bytes that no layer can leave out or fold; their digest."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(SIZE_BYTES // PIECE_BYTES):
            piece = os.urandom(PIECE_BYTES)
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_two_gib_up_and_down_leave_memory_flat(platform: Platform, tmp_path: Path) -> None:
    large, back = tmp_path / "large.bin", tmp_path / "back"
    digest = write_random(large)
    name = ("-n", "large", "-v", "1")
    try:
        up = grown(platform, "model", "create", *name, "--path", str(large))
        large.unlink()
        down = grown(platform, "model", "download", *name, "--download-path", str(back))
        (found,) = [one for one in back.rglob("*") if one.is_file()]
        assert digest_of(found) == digest
    finally:
        # Folders of tests are kept for a while; these bytes are not worth it.
        kept = [one for one in Home(platform.home).blobs.rglob("*") if one.is_file()]
        for one in (large, *back.rglob("*.bin"), *kept):
            one.unlink(missing_ok=True)
    for what, (server, command) in {"upload": up, "download": down}.items():
        mib = [round(one.bytes / 1024**2, 1) for one in (server, command)]
        print(f"{what}: control grew by {mib[0]} MiB, the command by {mib[1]} MiB")  # noqa: T201
        assert server.bytes < MAX_GROWTH_BYTES, what
        assert command.bytes < MAX_GROWTH_BYTES, what
