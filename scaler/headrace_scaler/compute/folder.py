"""One instance on disk: what it was started with, who it is, and what it wrote.

`<home>/instances/<iid>` holds launch.json, nats.creds, record.json and the logs. The record is
written before the process starts, without a pid, and again after: a crash between the two leaves a
record whose process is found by its arguments.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Self

from headrace_api.private_files import write_private
from headrace_api.record import Unreadable, load_json
from headrace_bus.errors import MalformedEnvelope
from headrace_bus.wire.heartbeat import DEPLOYMENT
from headrace_bus.wire.launch import Launch
from headrace_scaler.compute.port import Container, Running
from headrace_scaler.compute.processes import ProcessId
from headrace_scaler.errors import InstanceExists, UnreadableInstance

RECORD: Final = "record.json"
LAUNCH: Final = "launch.json"
CREDENTIALS: Final = "nats.creds"
PROCESS_LOG: Final = "scorer.log"
_TAIL_BLOCK_BYTES: Final = 64 * 1024
_TAIL_MAX_BYTES: Final = 16 * 1024 * 1024  # what `logs` reads at most of one file


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRecord:
    """Who an instance is and what became of it."""

    iid: str
    endpoint: str
    deployment: str
    revision: int
    created_ms: int
    owner: str = DEPLOYMENT
    pid: int = 0
    """0 until the process has started."""
    started: str = ""
    """See ProcessId."""
    stop_ms: int = 0
    """When it was asked to end; 0 while nobody asked."""
    ended_ms: int = 0
    exit_code: int | None = None
    forgotten: bool = False
    """Only its logs are kept."""

    @property
    def process(self) -> ProcessId:
        return ProcessId(self.pid, self.started)

    def running(self, *, alive: bool) -> Running:
        return Running(
            iid=self.iid,
            endpoint=self.endpoint,
            deployment=self.deployment,
            revision=self.revision,
            owner=self.owner,
            pid=self.pid,
            alive=alive,
            exit_code=self.exit_code,
        )


class InstanceFolder:
    """The files of one instance. Its id is a token of ours, never a user's name."""

    def __init__(self, instances: Path, iid: str) -> None:
        self.path = instances / iid
        self.iid = iid

    @classmethod
    def all(cls, instances: Path) -> Iterator[Self]:
        """Every folder that holds a record."""
        if not instances.is_dir():
            return
        for path in sorted(instances.iterdir()):
            if (path / RECORD).is_file():
                yield cls(instances, path.name)

    def create(self, launch: Launch, credentials: str, created_ms: int) -> InstanceRecord:
        """Lay down what the scorer reads, record last. Raises InstanceExists."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self.path.mkdir(mode=0o700)
        except FileExistsError:
            raise InstanceExists(self.iid) from None
        write_private(self.path / CREDENTIALS, credentials, sync=False)
        launch.write(self.path / LAUNCH)
        record = _record(launch, created_ms)
        self.write(record)
        return record

    def read(self) -> InstanceRecord | None:
        """None when there is no record. Raises UnreadableInstance for one that cannot be read."""
        try:
            return load_json(InstanceRecord, (self.path / RECORD).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, Unreadable) as error:
            raise UnreadableInstance(self.iid, str(error)) from error

    def recover(self) -> InstanceRecord:
        """A record in place of one that cannot be read, from what the instance was started with.

        Whose process it is must be found by its arguments. Raises UnreadableInstance.
        """
        try:
            launch = Launch.read(self.path / LAUNCH)
            created_ms = int((self.path / LAUNCH).stat().st_mtime * 1000)
        except (OSError, MalformedEnvelope) as error:
            raise UnreadableInstance(self.iid, str(error)) from error
        return _record(launch, created_ms)

    def write(self, record: InstanceRecord) -> None:
        """Replace the record in one step."""
        write_private(self.path / RECORD, json.dumps(asdict(record)), sync=False)

    def forget(self, record: InstanceRecord) -> None:
        """Keep the logs only; credentials go at once."""
        (self.path / CREDENTIALS).unlink(missing_ok=True)
        (self.path / LAUNCH).unlink(missing_ok=True)
        self.write(replace(record, forgotten=True))

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def tail(self, container: Container, lines: int) -> str:
        """The last lines of a container's log.

        An instance that died before its inference server spoke has its reason in the scorer's own
        log, which stands in then.
        """
        text = tail(self.path / f"{container}.log", lines)
        if text or container is not Container.INFERENCE_SERVER:
            return text
        return tail(self.path / PROCESS_LOG, lines)


def _record(launch: Launch, created_ms: int) -> InstanceRecord:
    return InstanceRecord(
        iid=launch.iid,
        endpoint=launch.endpoint,
        deployment=launch.deployment,
        revision=launch.revision,
        created_ms=created_ms,
        owner=launch.owner,
    )


def tail(path: Path, lines: int) -> str:
    """The last `lines` lines of a file, within the last _TAIL_MAX_BYTES; empty without a file."""
    if lines <= 0:
        return ""
    try:
        with path.open("rb") as file:
            return _tail(file.fileno(), lines).decode(errors="replace")
    except FileNotFoundError:
        return ""


def _tail(descriptor: int, lines: int) -> bytes:
    at = os.fstat(descriptor).st_size
    floor = max(0, at - _TAIL_MAX_BYTES)
    blocks: list[bytes] = []
    newlines = 0
    while at > floor and newlines <= lines:
        start = max(floor, at - _TAIL_BLOCK_BYTES)
        block = os.pread(descriptor, at - start, start)
        blocks.append(block)
        newlines += block.count(b"\n")
        at = start
    return b"".join(b"".join(reversed(blocks)).splitlines(keepends=True)[-lines:])
