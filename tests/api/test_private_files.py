"""Private files are whole and private, whoever writes at once; processes are told apart."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from headrace_api.machine import boot_id, started_ticks
from headrace_api.private_files import (
    MAX_FILE_BYTES,
    read_or_create,
    read_private,
    write_private,
    write_private_once,
)


@pytest.mark.parametrize("sync", [True, False])
def test_a_file_is_private_and_replaced_whole(tmp_path: Path, sync: bool) -> None:
    path = tmp_path / "key"
    previous = os.umask(0)
    try:
        write_private(path, "first", sync=sync)
        write_private(path, b"second", sync=sync)
    finally:
        os.umask(previous)
    assert path.read_bytes() == b"second"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_wider_mode_is_kept_when_it_is_asked_for(tmp_path: Path) -> None:
    write_private(tmp_path / "ca.pem", b"x", mode=0o644)
    assert (tmp_path / "ca.pem").stat().st_mode & 0o777 == 0o644


def test_of_many_who_create_at_once_the_first_one_wins_and_all_read_the_same(
    tmp_path: Path,
) -> None:
    path, found = tmp_path / "below" / "secret", []
    start = threading.Barrier(8)

    def create(n: int) -> None:
        start.wait()
        found.append(read_or_create(path, f"secret {n}"))

    threads = [threading.Thread(target=create, args=(n,)) for n in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert set(found) == {path.read_bytes()}
    write_private_once(path, "too late")
    assert read_private(path) == found[0]
    assert list(path.parent.iterdir()) == [path]


def test_what_does_not_fit_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "full"
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from headrace_api.private_files import write_private\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "try:\n    write_private(Path(sys.argv[1]), b'x' * 100)\n"
        "except OSError:\n    sys.exit(7)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert done.returncode == 7
    assert list(tmp_path.iterdir()) == []


def test_a_reader_takes_no_more_than_a_small_file(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(MAX_FILE_BYTES + 1))
    assert len(read_private(path)) == MAX_FILE_BYTES


def test_a_process_is_told_by_its_start_and_a_zombie_has_ended() -> None:
    assert boot_id()
    child = subprocess.Popen(["sleep", "60"])
    started = started_ticks(child.pid)
    assert started.isdecimal()
    assert started_ticks(child.pid) == started
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert started_ticks(child.pid) == ""
    child.wait()
    assert started_ticks(2**22 + 1) == ""
