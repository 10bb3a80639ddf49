"""How an instance ends by itself, and what its logs may hold."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from headrace_api.home import Home
from headrace_bus.client.connection import Bus
from headrace_bus.wire.envelope import AnswerKind
from headrace_bus.wire.instance_control import Credit
from headrace_scorer.console_file import BURST_LINES, ConsoleFile
from headrace_scorer.instance import EQUAL_DEATHS, FAILED, LONELY, OK, run
from headrace_scorer.settings import Settings
from scorer.caller import BOUND_S, Caller, Instance, connect, launch_of
from support.limits import room
from support.nats_server import NatsServer

END = AnswerKind.END
PLAIN = "def init(): pass\ndef run(a): return 1\n"


def prepared(home: Home, url: str) -> Settings:
    launch = launch_of(home, url, PLAIN)
    settings = Settings(home=home, iid=launch.iid, lonely_s=0.3)
    settings.folder.mkdir(parents=True)
    launch.write(settings.launch)
    return settings


async def test_without_nats_for_too_long_it_ends_itself(home: Home, tmp_path: Path) -> None:
    server = NatsServer(tmp_path / "nats").start()
    settings = prepared(home, server.url)
    running = asyncio.create_task(run(settings, asyncio.Event()))
    try:
        await serving(settings)
    finally:
        server.kill()
    async with asyncio.timeout(40):
        assert await running == LONELY


async def test_a_short_absence_of_nats_is_lived_through(home: Home, tmp_path: Path) -> None:
    server = NatsServer(tmp_path / "nats").start()
    stop = asyncio.Event()
    settings = replace(prepared(home, server.url), lonely_s=60.0)
    running = asyncio.create_task(run(settings, stop))
    try:
        await serving(settings)
        server.kill()
        server.start()
        stop.set()
        async with asyncio.timeout(40):
            assert await running == OK
    finally:
        server.stop()


FLOOD = """
import json, os, pathlib, time
def init(): pass
def run(raw):
    asked = json.loads(raw)
    return parts(pathlib.Path(asked["folder"])) if asked else os.getpid()
def parts(folder):
    try:
        for _ in range(20):
            yield b"with credit"
        while not (folder / "cut").exists():
            time.sleep(0.01)
        for _ in range(400):
            yield bytes(256 * 1024)
    finally:
        (folder / "ended").touch()
"""


async def test_a_stream_too_large_to_wait_for_nats_costs_itself_and_no_worker(
    home: Home, tmp_path: Path
) -> None:
    """100 MiB, of which the bus keeps 64 while its server is away."""
    with NatsServer(tmp_path / "nats") as server:
        async with await connect(server.url) as bus:
            instance = Instance(home, launch_of(home, server.url, FLOOD), bus)
            await instance.start()
            try:
                await instance.ready()
                caller = await Caller(bus, instance.address).open()
                before = (await caller.ask({})).body
                request = caller.request(json.dumps({"folder": str(tmp_path)}).encode())
                answers = caller.send(request)
                await asyncio.wait_for(answers.get(), BOUND_S)
                caller.control(Credit(request_id=request.request_id, n=1000))
                for _ in range(19):
                    await asyncio.wait_for(answers.get(), BOUND_S)

                server.kill()
                (tmp_path / "cut").touch()
                async with asyncio.timeout(BOUND_S):
                    while not (tmp_path / "ended").exists():  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
                instance.last = None
                server.start()
                await instance.ready()

                assert (await caller.ask({})).body == before, "the same worker"
                while (last := await asyncio.wait_for(answers.get(), BOUND_S)).kind != END:
                    pass
                assert last.reason
            finally:
                await instance.close()


async def test_stop_while_it_starts_ends_it_at_once(home: Home, nats: NatsServer, bus: Bus) -> None:
    slow = "import time\ndef init(): time.sleep(600)\ndef run(a): pass\n"
    instance = Instance(home, launch_of(home, nats.url, slow), bus)
    await instance.start()
    try:
        await instance.when(lambda beat: beat.workers)
        instance.signal(15)
        assert await instance.exit_code() == 0
    finally:
        await instance.close()


DEATHS = {
    "os.kill(os.getpid(), signal.SIGSEGV)": "with signal SIGSEGV",
    "os._exit(7)": "with exit code 7",
}


@pytest.mark.parametrize("death", list(DEATHS))
async def test_workers_that_end_alike_before_they_are_ready_are_given_up(
    home: Home, nats: NatsServer, bus: Bus, death: str
) -> None:
    script = f"import os, signal\ndef init(): {death}\ndef run(a): pass\n"
    instance = Instance(home, launch_of(home, nats.url, script), bus)
    await instance.start()
    try:
        assert await instance.exit_code() == FAILED
        beat = await instance.when(lambda beat: beat.error)
        assert f"exited {EQUAL_DEATHS} times before it was ready, {DEATHS[death]}" in beat.error
    finally:
        await instance.close()


SHORT_LIFE = """
import os, threading, time
def init():
    with open({path!r}, "a") as births:
        births.write(f"{{time.monotonic()}}\\n")
    threading.Timer(0.05, os._exit, [9]).start()
def run(a): pass
"""


async def test_workers_that_end_as_soon_as_they_are_ready_come_back_ever_later(
    home: Home, nats: NatsServer, bus: Bus, tmp_path: Path
) -> None:
    births = tmp_path / "births"
    script = SHORT_LIFE.format(path=str(births))
    instance = Instance(home, launch_of(home, nats.url, script), bus)
    await instance.start()
    try:
        async with asyncio.timeout(BOUND_S):
            while not births.exists() or len(births.read_text().splitlines()) < 4:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        await instance.close()
    at_s = [float(line) for line in births.read_text().splitlines()]
    first_s, _ = Settings(home=home, iid="i").backoff_s
    assert at_s[3] - at_s[2] >= 4 * first_s, "the third pause is four times the first"


def test_a_flood_of_lines_is_cut_and_counted(tmp_path: Path) -> None:
    file = ConsoleFile(tmp_path / "inference-server.log")
    for _ in range(3):
        file.feed(b"x\n" * BURST_LINES)
    file._tokens = 10  # time has passed
    file.feed(b"the last one\n")
    file.close()
    text = (tmp_path / "inference-server.log").read_text()
    assert "lines dropped" in text
    assert text.endswith("the last one\n")
    assert text.count("\n") < 2 * BURST_LINES


def test_lines_that_find_no_room_are_counted_and_fail_nobody(tmp_path: Path) -> None:
    """A worker's last words come with the news that it ended, which must arrive."""
    path = tmp_path / "inference-server.log"
    file = ConsoleFile(path)
    file.feed(b"before\n")
    with room(path.stat().st_size + 4):
        file.feed(b"torn and lost\nlost\n")
        file.feed(b"lost\n")
    file.feed(b"after\n")
    file.close()

    assert path.read_text().splitlines() == [
        "before",
        "torn",
        "(3 lines dropped: more than the rate limit, or no room on the disk)",
        "after",
    ]


def test_where_no_new_file_can_be_made_the_old_one_grows_until_then(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    file = ConsoleFile(folder / "a.log", max_bytes=10)
    folder.rename(tmp_path / "elsewhere")
    file.feed(b"twelve bytes\n")
    file.feed(b"and more\n")
    folder.mkdir()
    file.feed(b"there is room\n")
    file.feed(b"anew\n")
    file.close()

    grown = (tmp_path / "elsewhere" / "a.log").read_text()
    assert grown == "twelve bytes\nand more\nthere is room\n"
    assert (folder / "a.log").read_text() == "anew\n"


def test_the_file_stays_bounded_and_keeps_the_one_before(tmp_path: Path) -> None:
    file = ConsoleFile(tmp_path / "a.log", max_bytes=1000)
    for i in range(50):
        file.feed(b"%03d " % i + b"y" * 95 + b"\n")
    file.close()
    assert (tmp_path / "a.log").stat().st_size <= 1100
    assert (tmp_path / "a.log.1").stat().st_size <= 1100
    assert "049" in (tmp_path / "a.log").read_text() + (tmp_path / "a.log.1").read_text()


async def serving(settings: Settings) -> None:
    """Return when the console says that a worker is ready; the test's timeout bounds it."""
    path = settings.folder / "inference-server.log"
    while not (path.exists() and "ready for serving" in path.read_text()):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
