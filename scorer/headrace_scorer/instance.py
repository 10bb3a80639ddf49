"""One instance from launch record to end: fetch, build, load, serve, drain.

FETCHING -> BUILDING -> LOADING -> READY <-> UNREADY -> DRAINING
                  any of the first three -> FAILED, exit 3
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import structlog

from headrace_api.errors import HeadraceError
from headrace_bus.client.connection import Bus
from headrace_bus.client.settings import BusSettings
from headrace_bus.errors import BusDisconnected, BusError
from headrace_bus.routing.bodies.shared_file import Bodies
from headrace_bus.wire import subjects
from headrace_bus.wire.heartbeat import HEARTBEAT_INTERVAL_S, InstanceState
from headrace_bus.wire.launch import EnvironmentSpec, Launch
from headrace_scorer import asset_fetch, environment, layout
from headrace_scorer import image as images
from headrace_scorer.console_file import ConsoleFile
from headrace_scorer.errors import LaunchRefused, ScriptFailed, StartFailed
from headrace_scorer.health import Meter, Snapshot, Vitals, heartbeat, readiness_budget_s
from headrace_scorer.pool import Pool, PoolPlan
from headrace_scorer.serving import Serving
from headrace_scorer.settings import INITIALIZER_LOG, SERVER_LOG, Settings
from headrace_scorer.worker_process import WorkerPlan
from headrace_telemetry.clock import monotonic, unix_ms
from headrace_telemetry.tasks import Tasks

log = structlog.get_logger(__name__)

T = TypeVar("T")

OK: Final = 0
LONELY: Final = 1  # exit code after ten minutes without NATS
FAILED: Final = 3  # exit code of a start that can never succeed
EQUAL_DEATHS: Final = 3  # of workers before they were ready, one after another: no accident


class Instance:
    """The parts of one instance and what it says of itself."""

    def __init__(self, settings: Settings, launch: Launch, bus: Bus, epoch: int) -> None:
        self._settings = settings
        self._launch = launch
        self._bus = bus
        self._epoch = epoch
        self._address = subjects.InstanceAddress(launch.endpoint, launch.deployment, launch.iid)
        self._state = InstanceState.FETCHING
        self._phases: dict[str, float] = {}
        self._error: StartFailed | None = None
        self._lost_at: float | None = None
        self._meter = Meter()
        self._vitals = Vitals(cpu=0.0, memory_bytes=0)
        self._beats = 0
        self._tasks = Tasks(f"instance {launch.iid}")
        self._steps = ConsoleFile(settings.folder / INITIALIZER_LOG)
        self._console = ConsoleFile(settings.folder / SERVER_LOG)
        self._serving = Serving(launch, bus, epoch, Bodies.below(settings.home))
        self._serving.on_change = self._slots_changed
        self._workerless_since = monotonic()
        self._lonely = asyncio.Event()
        self._gone = asyncio.Event()
        """The pool has no live worker and none came back within the readiness budget."""

    async def run(self, stop: asyncio.Event) -> int:
        """Live until `stop`; return the exit code."""
        self._bus.on_disconnect(self._disconnected)
        self._bus.on_reconnect(self._reconnected)
        self._bus.on_closed(self._lonely.set)
        self._tasks.forever(self._beat(), "heartbeat", self._lonely.set)
        try:
            await self._listen()
            code = await self._until(stop)
        finally:
            if self._serving.pool is not None:
                await self._serving.pool.stop()
            await self._tasks.stop()
            self._steps.close()
            self._console.close()
        return code

    async def _until(self, stop: asyncio.Event) -> int:
        start = self._tasks.start(self._start(), "start")
        stopping = self._tasks.start(stop.wait(), "stop")
        lonely = self._tasks.start(self._lonely.wait(), "lonely")
        gone = self._tasks.start(self._gone.wait(), "gone")
        await asyncio.wait((start, stopping, lonely), return_when=asyncio.FIRST_COMPLETED)
        if start.done() and not stop.is_set():
            if (failure := _failure(start)) is not None:
                return await self._fail(failure)
            await asyncio.wait((stopping, lonely, gone), return_when=asyncio.FIRST_COMPLETED)
        if self._gone.is_set():
            return await self._fail(self._workers_gone())
        start.cancel()
        if not stop.is_set():
            log.error("NATS was unreachable for too long, exiting", iid=self._launch.iid)
            return LONELY
        await self._drain()
        return OK

    async def _listen(self) -> None:
        """Subscribed before ready, so that the first heartbeat that says so is true."""
        await self._bus.subscribe(subjects.instance(self._address), self._serving.on_request)
        await self._bus.subscribe(
            subjects.instance_control(self._address), self._serving.on_control
        )

    async def _start(self) -> None:
        began = monotonic()
        folders = await self._phase("fetch", InstanceState.FETCHING, self._fetch())
        python = await self._phase("environment", InstanceState.BUILDING, self._build())
        await self._phase("load", InstanceState.LOADING, self._load(folders, python))
        self._phases["ready"] = round(monotonic() - began, 3)
        self._set(InstanceState.READY)
        log.info("instance ready", iid=self._launch.iid, phases=self._phases)

    async def _phase(self, name: str, state: InstanceState, work: Awaitable[T]) -> T:
        self._set(state)
        began = monotonic()
        result = await work
        self._phases[name] = round(monotonic() - began, 3)
        return result

    async def _fetch(self) -> layout.Folders:
        launch = self._launch
        began = monotonic()
        bring = partial(
            asset_fetch.bring, launch=launch, home=self._settings.home, say=self._steps.say
        )
        code = await bring("code", launch.code_files)
        model = await bring("model", launch.model_files)
        folders = await asyncio.to_thread(
            layout.lay_out, launch, self._settings.folder, code, model
        )
        self._steps.say(f"fetched in {monotonic() - began:.3f} s")
        return folders

    async def _build(self) -> Path:
        began = monotonic()
        home = self._settings.home
        planned, warning = await environment.plan(
            self._launch.environment, home.interpreters, self._steps.say
        )
        if warning:
            self._steps.say(warning, level="W")
        python = await environment.ensure(planned, home.environments, self._steps.say)
        self._steps.say(f"environment ready in {monotonic() - began:.3f} s")
        return python

    async def _load(self, folders: layout.Folders, python: Path) -> None:
        """Start the workers and wait for all of them. Raises ScriptFailed, StartFailed."""
        pool = Pool(self._pool_plan(folders, python), self._serving, self._console.feed)
        self._serving.pool = pool
        await pool.start()
        budget_s = readiness_budget_s(self._launch.readiness)
        wanted = layout.worker_count(self._launch)
        try:
            async with asyncio.timeout(budget_s):
                while len(pool.live) < wanted:
                    if (failure := why_never(pool, self._launch.environment)) is not None:
                        raise failure
                    pool.changed.clear()
                    await pool.changed.wait()
        except TimeoutError:
            raise never_ready(budget_s, pool.restarts) from None

    def _pool_plan(self, folders: layout.Folders, python: Path) -> PoolPlan:
        launch, settings = self._launch, self._settings
        timeout_ms = layout.scoring_timeout_ms(launch)
        worker = WorkerPlan(
            interpreter=str(python),
            environment=layout.worker_environment(launch, folders, python, os.environ),
            folder=folders.app_root,
            mark=self._settings.folder,
        )
        return PoolPlan(
            worker=worker,
            count=layout.worker_count(launch),
            idempotent=launch.idempotent,
            liveness=launch.liveness,
            run_bound_s=timeout_ms / 1e3 + settings.hung_grace_s,
            backoff_s=settings.backoff_s,
        )

    async def _fail(self, failure: StartFailed) -> int:
        """Say why, in the heartbeat and in the log, and end."""
        self._error = failure
        self._steps.say(str(failure), level="E")
        # The worker has said the traceback there already.
        words = failure.without_traceback if isinstance(failure, ScriptFailed) else str(failure)
        self._console.say(words, level="E")
        log.error("instance failed", iid=self._launch.iid, code=failure.code)
        self._set(InstanceState.FAILED)
        await self._flush()
        return FAILED

    async def _drain(self) -> None:
        """Take nothing more, finish what runs within the bound, leave."""
        self._serving.drain()
        self._set(InstanceState.DRAINING)
        deadline = monotonic() + self._settings.drain_s
        while self._serving.in_flight and monotonic() < deadline:
            await self._serving.idle(deadline - monotonic())
        left = self._serving.in_flight
        log.info("instance drained", iid=self._launch.iid, unfinished=left)
        await self._flush()

    async def _beat(self) -> None:
        """Heartbeats, and the looks at workers that go with time."""
        while True:
            self._tick(monotonic())
            await asyncio.sleep(HEARTBEAT_INTERVAL_S)

    def _tick(self, now: float) -> None:
        self._serving.tick(now)
        self._beats += 1
        if self._beats % 2 == 1:
            self._vitals = self._meter.read((os.getpid(), *self._pids()))
        self._publish()
        if self._lost_at is not None and now - self._lost_at > self._settings.lonely_s:
            self._lonely.set()
        self._look_for_workers(now)

    def _look_for_workers(self, now: float) -> None:
        """A ready instance whose workers all died and do not come back has failed."""
        pool = self._serving.pool
        if self._state is not InstanceState.UNREADY or pool is None or pool.live:
            self._workerless_since = now
        elif now - self._workerless_since > readiness_budget_s(self._launch.readiness):
            self._gone.set()

    def _workers_gone(self) -> StartFailed:
        pool = self._serving.pool
        if pool is not None and pool.report is not None:
            return script_failed(pool.report, self._launch.environment)
        return StartFailed("every worker exited, and none could be restarted")

    def _slots_changed(self) -> None:
        if self._state in (InstanceState.READY, InstanceState.UNREADY):
            self._set(InstanceState.READY if self._serving.slots > 0 else InstanceState.UNREADY)

    def _set(self, state: InstanceState) -> None:
        self._state = state
        if state is InstanceState.READY:
            self._serving.capacity_changed()
        self._publish()

    def _publish(self) -> None:
        beat = heartbeat(
            self._launch, self._epoch, self._bus.connection_name, self._snapshot(), self._vitals
        )
        try:
            self._bus.publish(subjects.heartbeat(self._address), beat.encode())
        except BusError as error:
            log.warning("heartbeat not sent", error=str(error))

    def _snapshot(self) -> Snapshot:
        serves = self._state is InstanceState.READY
        return Snapshot(
            state=self._state,
            slots=self._serving.slots if serves else 0,
            standby=self._serving.admission.standby if serves else 0,
            in_flight=self._serving.in_flight,
            served=self._serving.served,
            links=self._bus.links,
            phases=self._phases,
            workers=self._pids(),
            error=self._error,
        )

    def _pids(self) -> tuple[int, ...]:
        pool = self._serving.pool
        return tuple(worker.pid for worker in pool.workers) if pool is not None else ()

    async def _flush(self) -> None:
        try:
            await self._bus.flush(2.0)
        except BusDisconnected:
            log.warning("the last heartbeat may not have left")

    def _disconnected(self) -> None:
        self._lost_at = monotonic()

    def _reconnected(self) -> None:
        self._lost_at = None
        self._publish()


def why_never(pool: Pool, environment: EnvironmentSpec) -> StartFailed | None:
    """Why a further start would end as the last ones did; None while it may still succeed."""
    alike = pool.failed_starts[-EQUAL_DEATHS:]
    repeats = len(alike) == EQUAL_DEATHS and len(set(alike)) == 1
    if pool.report is not None and (repeats or not pool.live):
        return script_failed(pool.report, environment)
    return died_in_start(len(pool.failed_starts), alike[-1]) if repeats else None


def died_in_start(times: int, exit_code: int) -> StartFailed:
    """Of a process that ended without a word; a negative code is the signal that ended it."""
    how = f"exit code {exit_code}"
    if exit_code < 0:
        with contextlib.suppress(ValueError):
            how = f"signal {signal.Signals(-exit_code).name}"
    return StartFailed(
        f"the worker process exited {times} times before it was ready, with {how}; "
        "see its output in the log"
    )


def never_ready(budget_s: float, ended: int) -> StartFailed:
    """Why no worker was ready in time."""
    bound = f"within the {budget_s:g} s that readiness_probe allows"
    if ended:
        return StartFailed(
            f"the worker process exited {ended} times without an error message and was not ready "
            f"{bound}; see its output in the log"
        )
    return StartFailed(f"init() did not end {bound}")


def script_failed(report: dict[str, object], environment: EnvironmentSpec) -> ScriptFailed:
    listing = report.get("listing")
    hint = images.hint(environment) if report.get("type") == "ModuleNotFoundError" else ""
    return ScriptFailed(
        str(report.get("phase", "init")),
        str(report.get("type", "")),
        str(report.get("traceback", "")),
        tuple(map(str, listing)) if isinstance(listing, list) else (),
        hint=hint,
    )


def _failure(start: asyncio.Task[None]) -> StartFailed | None:
    """What ended the start, as something a deployment can show."""
    error = start.exception()
    if error is None or isinstance(error, StartFailed):
        return error
    if isinstance(error, (HeadraceError, OSError)):
        return LaunchRefused(f"the instance's files cannot be prepared: {error}")
    return StartFailed(f"the instance could not start: {error!r}")


async def run(settings: Settings, stop: asyncio.Event) -> int:
    """Run one instance until `stop` is set; return the process' exit code.

    Raises OSError or MalformedEnvelope without a readable launch record, BusDisconnected without
    a server.
    """
    launch = Launch.read(settings.launch)
    epoch = unix_ms()
    name = f"inst:{launch.endpoint}.{launch.deployment}.{launch.iid}.{epoch}"
    bus = await Bus.connect(
        BusSettings(url=launch.nats_url, name=name, credentials=settings.credentials)
    )
    async with bus:
        began = time.perf_counter()
        code = await Instance(settings, launch, bus, epoch).run(stop)
        log.info("instance ended", code=code, seconds=round(time.perf_counter() - began, 1))
        return code
