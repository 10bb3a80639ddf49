"""The embedded server's life: kept port, adoption, restart, stop, and who else is in the way."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from headrace_api.errors import Conflict, HeadraceError, Unavailable
from headrace_api.home import Home
from headrace_bus.client.connection import Bus
from headrace_bus.client.credentials import Credentials
from headrace_bus.client.identity import Identities
from headrace_bus.client.server import EmbeddedServer, accepts
from headrace_bus.client.settings import BusSettings
from headrace_bus.store.bucket import Bucket
from headrace_bus.store.events import MAX_BYTES, Events
from headrace_bus.wire import subjects
from headrace_bus.wire.subjects import InstanceAddress
from support.raw_nats import raw_client

BOUND_S = 30.0  # ends failed tests only
START_AND_DIE = """
import asyncio, os, signal, sys
from pathlib import Path
from headrace_api.home import Home
from headrace_bus.client.server import EmbeddedServer

async def main() -> None:
    await EmbeddedServer(Home(Path(sys.argv[1]))).start()
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""

# A release whose instances may do nothing, and whose server takes no message over 1 MB.
OLDER_RELEASE = """
from headrace_bus.client import identity, server_config
from headrace_bus.client.jwt import Permissions
identity.instance_template = lambda: Permissions(publish=("nothing",), subscribe=("nothing",))
server_config._CONFIG = server_config._CONFIG.replace("max_payload: 8MB", "max_payload: 1MB")
server_config._LIMIT = ""
"""
BLUE = InstanceAddress("ep", "blue", "i1")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "a home")


@pytest.fixture
async def server(home: Home) -> AsyncIterator[EmbeddedServer]:
    server = EmbeddedServer(home)
    await server.start()
    yield server
    await server.stop()


def runs(pid: int) -> bool:
    """A zombie that nobody reaps does not run."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def control(home: Home) -> Credentials:
    return Credentials.read(Identities(home).mint_role("control"))


async def test_the_port_of_the_first_start_is_kept(home: Home, server: EmbeddedServer) -> None:
    first = server.port
    await server.stop()
    again = EmbeddedServer(home)
    await again.start()

    assert again.port == first
    assert await accepts(first, control(home))
    await again.stop()


async def test_the_server_listens_on_loopback_only(server: EmbeddedServer) -> None:
    process = psutil.Process(server.pid)

    listening = [c.laddr for c in process.net_connections() if c.status == psutil.CONN_LISTEN]

    assert [(at.ip, at.port) for at in listening] == [("127.0.0.1", server.port)]


async def test_no_secret_is_readable_by_others(home: Home, server: EmbeddedServer) -> None:
    files = [path for path in home.nats.rglob("*") if path.is_file()]

    assert files
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in files} == {0}
    assert stat.S_IMODE((home.run / "nats.log").stat().st_mode) == 0o600


async def test_a_client_without_credentials_is_refused(server: EmbeddedServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b'CONNECT {"verbose":false}\r\nPING\r\n')
    async with asyncio.timeout(BOUND_S):
        answer = await reader.read(64 * 1024) + await reader.read(64 * 1024)
    writer.close()
    await writer.wait_closed()

    assert b"Authorization Violation" in answer


async def test_a_server_whose_owner_was_killed_is_adopted(home: Home) -> None:
    died = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", START_AND_DIE, str(home.root)], capture_output=True
    )
    assert died.returncode == -signal.SIGKILL
    left = int((home.nats / "nats.pid").read_text())

    server = EmbeddedServer(home)
    await server.start()

    assert (server.adopted, server.pid) == (True, left)
    await server.stop()
    assert not runs(left)


async def test_an_adopted_server_takes_the_rights_and_limits_of_this_release(home: Home) -> None:
    command = [sys.executable, "-c", OLDER_RELEASE + START_AND_DIE, str(home.root)]
    await asyncio.to_thread(subprocess.run, command, capture_output=True)
    port = int((home.nats / "port").read_text())
    kept = Identities(home).mint_instance(BLUE)
    async with raw_client(f"nats://127.0.0.1:{port}", kept) as instance:
        assert not await instance.may_publish(subjects.heartbeat(BLUE))

    server = EmbeddedServer(home)
    await server.start()
    try:
        assert server.adopted
        async with raw_client(server.url, kept) as instance:
            assert await instance.may_publish(subjects.heartbeat(BLUE))
            assert await instance.may_subscribe(subjects.instance(BLUE))
            assert instance.max_payload == 8 * 1024 * 1024
        await server.restart()  # and the rest, which a reload cannot change
        assert "max_file_store: 1TB" in (home.nats / "nats.conf").read_text()
    finally:
        await server.stop()


async def test_an_adopted_server_keeps_the_connections_it_has(home: Home) -> None:
    await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", START_AND_DIE, str(home.root)], capture_output=True
    )
    url = f"nats://127.0.0.1:{(home.nats / 'port').read_text().strip()}"
    async with raw_client(url, Identities(home).mint_instance(BLUE)) as instance:
        server = EmbeddedServer(home)
        await server.start()
        try:
            assert server.adopted
            assert await instance.may_publish(subjects.heartbeat(BLUE))
        finally:
            await server.stop()


async def test_a_home_has_one_owner_at_a_time(home: Home, server: EmbeddedServer) -> None:
    with pytest.raises(Conflict, match=f"in use by process {os.getpid()}") as refused:
        await EmbeddedServer(home).start()

    assert "--home" in refused.value.hint
    assert runs(server.pid)


async def test_a_taken_port_is_an_error_that_names_the_holder(home: Home) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        server = EmbeddedServer(home, port)
        with pytest.raises(Conflict, match=rf"port {port} .*process {os.getpid()}") as refused:
            await server.start()
        await server.stop()

    assert "--nats-port" in refused.value.hint
    assert not (home.nats / "port").exists()


async def test_a_killed_server_is_noticed_and_restarted_on_its_port(
    home: Home, server: EmbeddedServer
) -> None:
    port, first = server.port, server.pid
    os.kill(first, signal.SIGKILL)
    async with asyncio.timeout(BOUND_S):
        status = await server.wait()
    await server.restart()

    assert status == -signal.SIGKILL
    assert (server.port, server.pid != first) == (port, True)
    assert await accepts(port, control(home))


async def test_a_recycled_pid_is_never_adopted_nor_signalled(
    home: Home, server: EmbeddedServer
) -> None:
    await server.stop()
    stranger = await asyncio.create_subprocess_exec("sleep", "60")
    (home.nats / "nats.pid").write_text(str(stranger.pid))
    again = EmbeddedServer(home)
    await again.start()

    assert again.pid != stranger.pid
    assert stranger.returncode is None
    await again.stop()
    stranger.kill()
    await stranger.wait()


async def test_a_server_that_cannot_start_shows_its_log(home: Home, server: EmbeddedServer) -> None:
    await server.stop()
    store = home.nats / "jetstream"
    store.rename(home.nats / "moved")
    store.write_text("a file where the store should be")
    broken = EmbeddedServer(home)

    with pytest.raises(Unavailable, match="ended at once") as failed:
        await broken.start()

    assert "jetstream" in str(failed.value).lower()
    assert broken.pid == 0
    await broken.stop()


async def test_the_server_survives_a_ctrl_c_of_the_terminal(server: EmbeddedServer) -> None:
    assert os.getsid(server.pid) == server.pid


async def test_whoever_sets_how_many_cores_the_server_uses_is_heard(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOMAXPROCS", "2")
    server = EmbeddedServer(home)
    await server.start()
    try:
        assert psutil.Process(server.pid).environ()["GOMAXPROCS"] == "2"
    finally:
        await server.stop()


@pytest.mark.skipif(
    os.sched_getscheduler(0) != os.SCHED_OTHER, reason="a policy that was chosen stays"
)
async def test_the_server_does_not_push_who_wakes_it_off_its_core(server: EmbeddedServer) -> None:
    threads = [int(one.name) for one in Path(f"/proc/{server.pid}/task").iterdir()]

    assert {os.sched_getscheduler(one) for one in threads} == {os.SCHED_BATCH}
    assert os.sched_getscheduler(0) == os.SCHED_OTHER, "who started it is as before"


async def test_a_policy_that_was_chosen_stays(home: Home) -> None:
    start = ["chrt", "--idle", "0", sys.executable, "-c", START_AND_DIE, str(home.root)]
    await asyncio.to_thread(subprocess.run, start, capture_output=True)
    server = EmbeddedServer(home)
    await server.start()
    try:
        assert server.adopted
        assert os.sched_getscheduler(server.pid) == os.SCHED_IDLE
    finally:
        await server.stop()


async def test_stopping_twice_is_harmless(server: EmbeddedServer) -> None:
    pid = server.pid
    await server.stop()
    await server.stop()

    assert not runs(pid)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tiny", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
async def test_streams_are_opened_where_little_room_is_left(small_disk: Path) -> None:
    """The server would take three quarters of what is free for the most it may ever keep."""
    server = EmbeddedServer(Home(small_disk / "home"))
    await server.start()
    credentials = Identities(Home(small_disk / "home")).mint_role("control")
    bus = await Bus.connect(BusSettings(url=server.url, name="test", credentials=credentials))
    try:
        assert shutil.disk_usage(small_disk).free < MAX_BYTES
        events = await Events.open(bus)
        await events.write("kept", {"of": "before"})
        await server.restart()

        events = await Events.open(bus)

        assert await events.last(1) == [{"of": "before"}]
    finally:
        await bus.close()
        await server.stop()


async def write(state: Bucket, many: int) -> None:
    for number in range(many):
        await state.create(f"key.{number}", bytes(64 * 1024))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
async def test_streams_take_writes_again_after_a_full_disk(small_disk: Path) -> None:
    """A stream whose write failed takes no more until the server is started anew."""
    home, filler = Home(small_disk / "home"), small_disk / "filler"
    server = EmbeddedServer(home)
    await server.start()
    credentials = Identities(home).mint_role("control")
    bus = await Bus.connect(BusSettings(url=server.url, name="test", credentials=credentials))
    try:
        state = await Bucket.open(bus, "state")
        fill(filler)
        failure = asyncio.create_task(server.failure())
        with pytest.raises(HeadraceError):
            await write(state, 500)
        assert not failure.done(), "a start without room would end core NATS too"
        filler.unlink()

        async with asyncio.timeout(BOUND_S):
            await failure
        await server.restart()

        await state.create("after", b"1")

        record = await state.get("after")
        assert record is not None
        assert record.value == b"1"
    finally:
        await bus.close()
        await server.stop()


def fill(file: Path) -> None:
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as out:
        while out.write(bytes(1 << 20)):
            pass
