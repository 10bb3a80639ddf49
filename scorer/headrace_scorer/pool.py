"""The workers of one instance: which one gets a request, and what happens when one dies."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from headrace_bus.wire.launch import Probe
from headrace_scorer import verdicts
from headrace_scorer.job import Job
from headrace_scorer.worker import frames
from headrace_scorer.worker_process import Worker, WorkerPlan
from headrace_telemetry.clock import monotonic
from headrace_telemetry.tasks import Tasks

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPlan:
    """How many workers, and when one is given up."""

    worker: WorkerPlan
    count: int
    idempotent: bool
    liveness: Probe
    run_bound_s: float
    """SCORING_TIMEOUT_MS and the grace: a worker busy for longer is killed."""
    backoff_s: tuple[float, float]


class Sink(Protocol):
    """Who hears what became of requests."""

    def answered(self, job: Job, kind: int, payload: bytes) -> None: ...
    def lost(self, job: Job, reason: str) -> None: ...
    def expired(self, job: Job) -> None: ...
    def recalled(self, job: Job) -> None: ...
    def capacity_changed(self) -> None: ...


class Pool:
    """Owner of the workers. `submit` never waits; the sink hears the rest."""

    def __init__(self, plan: PoolPlan, sink: Sink, console: Callable[[bytes], None]) -> None:
        self._plan = plan
        self._sink = sink
        self._console = console
        self._tasks = Tasks("pool")
        self._pending: deque[Job] = deque()
        self._suspects: deque[Job] = deque()
        self._starting = 0
        self._deaths_before_ready = 0
        self._stopping = False
        self.workers: list[Worker] = []
        self.asynchronous = False
        self.depth = 1
        """Requests a sync worker may hold: the one it runs and the look-ahead."""
        self.changed = asyncio.Event()
        """Set when a worker became ready, failed or ended."""
        self.report: dict[str, Any] | None = None
        """What the last worker that failed to load said."""
        self.restarts = 0

    @property
    def live(self) -> list[Worker]:
        return [one for one in self.workers if one.ready and not one.doomed]

    @property
    def open_workers(self) -> int:
        """Workers that take ordinary requests now."""
        return sum(1 for one in self.live if not one.exclusive)

    @property
    def waiting(self) -> int:
        return len(self._pending) + len(self._suspects)

    @property
    def deaths_before_ready(self) -> int:
        return self._deaths_before_ready

    async def start(self) -> None:
        """Start all workers; readiness shows in `live`. Raises OSError."""
        await asyncio.gather(*(self._spawn() for _ in range(self._plan.count)))

    async def stop(self) -> None:
        """End all workers at once; call it when nothing is in flight, or time is up."""
        self._stopping = True
        await self._tasks.stop()
        for worker in self.workers:
            worker.kill("stopped")
        await asyncio.gather(*(worker.ended() for worker in tuple(self.workers)))

    def submit(self, job: Job) -> None:
        """Give the request to the least loaded worker, or keep it until one is free."""
        if not self._pending and (worker := self._pick()) is not None:
            self._send(worker, job)
            return
        self._pending.append(job)

    def cancel(self, job: Job) -> None:
        """Nobody wants the answer: drop it where it waits, tell the worker where it runs."""
        job.cancelled = True
        for queue in (self._pending, self._suspects):
            if job in queue:
                queue.remove(job)
                self._sink.lost(job, verdicts.CANCELLED)
                return
        self._tell_holder(job, frames.CANCEL)

    def recall(self, job: Job) -> None:
        """Take it back if its run has not begun; the sink hears if so."""
        if job in self._pending:
            self._pending.remove(job)
            self._sink.recalled(job)
        else:
            self._tell_holder(job, frames.RECALL)

    def credit(self, job: Job, chunks: int) -> None:
        self._tell_holder(job, frames.CREDIT, min(chunks, 2**31).to_bytes(4, "big"))

    def _tell_holder(self, job: Job, kind: int, payload: bytes = b"") -> None:
        for worker in self.workers:
            if job.number in worker.jobs:
                worker.tell(kind, job.number, payload)

    def check(self, now: float) -> None:
        """Ping workers, and kill those that hang; call it twice a second."""
        for worker in self.live:
            if self._overdue(worker, now):
                log.warning("worker killed: run() is past its bound", pid=worker.pid)
                worker.kill(verdicts.TIMEOUT)
            elif self._unresponsive(worker, now):
                log.warning("worker killed: it does not answer", pid=worker.pid)
                worker.kill(verdicts.LIVENESS)
        for queue in (self._pending, self._suspects):
            for job in [one for one in queue if one.deadline_s <= now]:
                queue.remove(job)
                self._sink.expired(job)

    def worker_ready(self, worker: Worker) -> None:
        self.asynchronous = worker.asynchronous
        self._deaths_before_ready = 0
        self.report = None
        self._changed()
        self._pump()

    def worker_failed(self, worker: Worker, report: dict[str, Any]) -> None:
        self.report = report

    def worker_ended(self, worker: Worker) -> None:
        self.workers.remove(worker)
        jobs = list(worker.jobs.values())
        worker.jobs.clear()
        if not self._stopping:
            was_ready = worker.started_at < worker.pong_at
            self._deaths_before_ready += not was_ready
            self.restarts += 1
            log.warning(
                "worker ended", pid=worker.pid, exit_code=worker.exit_code,
                why=worker.doomed, requests=len(jobs),
            )  # fmt: skip
            self._tasks.start(self._replace(0 if was_ready else self._deaths_before_ready), "spawn")
        self._bury(worker, jobs)
        self._changed()
        self._pump()

    def answered(self, worker: Worker, job: Job, kind: int, payload: bytes) -> None:
        if kind in (frames.ANSWER, frames.END):
            del worker.jobs[job.number]
            if worker.jobs and not worker.asynchronous:
                next(iter(worker.jobs.values())).sent_s = monotonic()
        self._sink.answered(job, kind, payload)
        if self._pending or self._suspects or worker.exclusive:
            self._pump()

    def recalled(self, worker: Worker, job: Job) -> None:
        """A worker gave back what it had not begun."""
        self._sink.recalled(job)
        if self._pending or self._suspects or worker.exclusive:
            self._pump()

    def _bury(self, worker: Worker, jobs: list[Job]) -> None:
        found = verdicts.judge(
            jobs,
            asynchronous=worker.asynchronous,
            alone=worker.exclusive,
            idempotent=self._plan.idempotent,
            why=worker.doomed or verdicts.DIED,
            late=monotonic() - self._plan.run_bound_s,
        )
        for job in found.suspect:
            job.deaths += 1
        self._pending.extendleft(reversed(found.innocent))
        self._suspects.extend(found.suspect)
        for job, reason in found.lost:
            self._sink.lost(job, reason)

    async def _spawn(self) -> None:
        worker = Worker(self, self._console)
        await worker.start(self._plan.worker)
        self.workers.append(worker)

    async def _replace(self, deaths: int) -> None:
        await asyncio.sleep(verdicts.restart_delay_s(deaths, *self._plan.backoff_s))
        await self._spawn()

    def _pump(self) -> None:
        """Start what can start: suspects alone, then what waits."""
        self._pump_suspects()
        while self._pending and (worker := self._pick()) is not None:
            self._send(worker, self._pending.popleft())

    def _pump_suspects(self) -> None:
        before = self.open_workers
        exclusive = [one for one in self.live if one.exclusive]
        active = sum(len(one.jobs) for one in self.workers) + self.waiting
        room = verdicts.retries_at_once(active) - sum(1 for one in exclusive if one.jobs)
        for worker in exclusive:
            if not worker.jobs:
                worker.exclusive = bool(self._suspects)
                if self._suspects and room > 0:
                    room -= 1
                    self._send(worker, self._suspects.popleft())
        if self._suspects and not exclusive and (free := self._least_loaded()) is not None:
            free.exclusive = True  # once what it runs is done, it takes suspects only
            if not free.jobs:
                self._send(free, self._suspects.popleft())
        if self.open_workers != before:
            self._changed()

    def _pick(self) -> Worker | None:
        worker = self._least_loaded()
        if worker is None or (not worker.asynchronous and len(worker.jobs) >= self.depth):
            return None
        return worker

    def _least_loaded(self) -> Worker | None:
        best: Worker | None = None
        for worker in self.workers:
            if worker.ready and not worker.exclusive and not worker.doomed:
                if not worker.jobs:
                    return worker
                if best is None or len(worker.jobs) < len(best.jobs):
                    best = worker
        return best

    def _send(self, worker: Worker, job: Job) -> None:
        now = monotonic()
        if job.deadline_s <= now:
            self._sink.expired(job)
            return
        job.sent_s = now
        worker.send(job)

    def _overdue(self, worker: Worker, now: float) -> bool:
        oldest = next(iter(worker.jobs.values()), None)
        return oldest is not None and now - oldest.sent_s > self._plan.run_bound_s

    def _unresponsive(self, worker: Worker, now: float) -> bool:
        probe, watch = self._plan.liveness, worker.watch
        if not watch.due(probe, pong_at=worker.pong_at, now=now):
            return False
        worker.tell(frames.PING)
        return watch.failed(probe)

    def _changed(self) -> None:
        self.changed.set()
        self._sink.capacity_changed()
