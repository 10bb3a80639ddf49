"""The rules that hold over a whole run, judged when the load has ended."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from chaos.history import History
from chaos.loads import Load
from chaos.plan import Target
from chaos.rig import INSTANCES, Rig

MORE_FILES: Final = 64  # open files a process may have gained
MORE_BYTES: Final = 96 * 1024 * 1024  # resident memory a process may have gained
SERVICES: Final = (Target.SUPERVISOR, Target.CONTROL, Target.INGRESS, Target.NATS)
KEPT_ENDED: Final = 5  # instances whose logs stay after their end
SHOWN: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What one process holds."""

    files: int
    bytes: int


def sizes(rig: Rig) -> dict[int, Size]:
    """Of every service, by pid."""
    found = {}
    for target in SERVICES:
        for pid in rig.pids(target):
            process = psutil.Process(pid)
            found[pid] = Size(files=process.num_fds(), bytes=process.memory_info().rss)
    return found


def every_answer_right(history: History, load: Load) -> None:
    """No failure, but what the load says is lawful."""
    wrong = [miss for miss in load.misses if not load.lawful(miss, history)]
    for miss in wrong[:SHOWN]:
        history.say(f"  {miss.nonce} {miss.begun_s:.2f}-{miss.ended_s:.2f} s: {miss.what}")
    words = f"{len(wrong)} requests of load {load.name} were not answered as they should be"
    history.rule(not wrong, words)
    history.rule(load.answered > 0, f"load {load.name} answered nothing")


async def books_balance(rig: Rig, *loads: Load) -> dict[str, Any]:
    """Conservation, and that the books know of each answer a client got."""
    answered = sum(load.answered for load in loads)
    audited: dict[str, Any] = await asyncio.to_thread(rig.platform.json, "audit")
    rig.history.say(f"audit: {audited['lanes']}")
    rig.history.rule(audited["balanced"], f"the books do not balance: {audited}")
    rig.history.rule(audited["in_flight"] == 0, f"in flight after the load: {audited}")
    # An ingress that was killed takes what it did since its last heartbeat with it.
    known = audited["completed"] + audited["lost_with_ingress"]
    killed = bool(rig.history.down)
    few = known < answered and not killed
    rig.history.rule(not few, f"the books know {known} answers, clients got {answered}")
    return audited


async def keys_hold(rig: Rig, revoked: list[str]) -> None:
    """The key works, revoked ones do not."""
    status = await asyncio.to_thread(_asked, rig.url, rig.key)
    rig.history.rule(status == 200, f"the key gets {status}")
    for key in revoked:
        status = await asyncio.to_thread(_asked, rig.url, key)
        rig.history.rule(status == 401, f"a revoked key gets {status}")


def nothing_leaked(rig: Rig, before: dict[int, Size]) -> None:
    """Files and memory of the services that lived through it all; folders of instances."""
    for pid, now in sizes(rig).items():
        then = before.get(pid)
        if then is None:
            continue
        rig.history.rule(
            now.files <= then.files + MORE_FILES,
            f"process {pid} has {now.files} files open, {then.files} before",
        )
        rig.history.rule(
            now.bytes <= then.bytes + MORE_BYTES,
            f"process {pid} holds {now.bytes >> 20} MiB, {then.bytes >> 20} before",
        )
    folders = [path.name for path in (rig.platform.home / "instances").iterdir()]
    rig.history.rule(
        len(folders) <= INSTANCES + KEPT_ENDED, f"too many instance folders: {sorted(folders)}"
    )
    left = [str(path) for path in _temporary(rig.platform.home)]
    rig.history.rule(not left, f"temporary files were left: {left[:SHOWN]}")


def _temporary(home: Path) -> list[Path]:
    return [
        path
        for path in home.rglob("*")
        if path.name.endswith((".tmp", ".part", ".partial")) and "environments" not in path.parts
    ]


def _asked(url: str, key: str) -> int:
    request = urllib.request.Request(  # our own loopback port
        url,
        data=b'{"nonce": "key"}',
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
