"""The workers of one instance: which one gets a request, and what happens when one dies."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from headrace_bus.wire.launch import Probe
from headrace_scorer import crash_triage as verdicts
from headrace_scorer.execution import Execution
from headrace_scorer.worker import frames
from headrace_scorer.worker_process import Worker, WorkerPlan
from headrace_telemetry.clock import monotonic
from headrace_telemetry.tasks import Tasks

log = structlog.get_logger(__name__)


STOP_GRACE_S: Final = 5.0


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

    def answered(self, execution: Execution, kind: int, payload: bytes) -> None: ...
    def lost(self, execution: Execution, reason: str) -> None: ...
    def expired(self, execution: Execution) -> None: ...
    def recalled(self, execution: Execution) -> None: ...
    def capacity_changed(self) -> None: ...


class Pool:
    """Owner of the workers. `submit` never waits; the sink hears the rest."""

    def __init__(self, plan: PoolPlan, sink: Sink, console: Callable[[bytes], None]) -> None:
        self._plan = plan
        self._sink = sink
        self._console = console
        self._tasks = Tasks("pool")
        self._pending: deque[Execution] = deque()
        self._suspects: deque[Execution] = deque()
        self._starting = 0
        self._early_deaths = 0
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
        self.failed_starts: list[int] = []
        """Exit codes of the workers that ended before they were ready, since one was."""

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

    async def start(self) -> None:
        """Start all workers; readiness shows in `live`. Raises OSError."""
        await asyncio.gather(*(self._spawn() for _ in range(self._plan.count)))

    async def stop(self) -> None:
        """End all workers; call it when nothing is in flight, or time is up.

        Handlers of SIGTERM and of atexit have STOP_GRACE_S.
        """
        self._stopping = True
        await self._tasks.stop()
        for worker in self.workers:
            worker.stop()
        try:
            async with asyncio.timeout(STOP_GRACE_S):
                await _ended(self.workers)
        except TimeoutError:
            for worker in self.workers:
                log.warning("worker killed: it did not stop in time", pid=worker.pid)
                worker.kill("stopped")
            await _ended(self.workers)

    def submit(self, execution: Execution) -> None:
        """Give the request to the least loaded worker, or keep it until one is free."""
        if not self._pending and (worker := self._pick()) is not None:
            self._send(worker, execution)
            return
        self._pending.append(execution)

    def cancel(self, execution: Execution) -> None:
        """Nobody wants the answer: drop it where it waits, tell the worker where it runs."""
        execution.cancelled = True
        for queue in (self._pending, self._suspects):
            if execution in queue:
                queue.remove(execution)
                self._sink.lost(execution, verdicts.CANCELLED)
                return
        self._tell_holder(execution, frames.CANCEL)

    def recall(self, execution: Execution) -> None:
        """Take it back if its run has not begun; the sink hears if so."""
        if execution in self._pending:
            self._pending.remove(execution)
            self._sink.recalled(execution)
        else:
            self._tell_holder(execution, frames.RECALL)

    def credit(self, execution: Execution, chunks: int) -> None:
        self._tell_holder(execution, frames.CREDIT, min(chunks, 2**31).to_bytes(4, "big"))

    def _tell_holder(self, execution: Execution, kind: int, payload: bytes = b"") -> None:
        for worker in self.workers:
            if execution.number in worker.executions:
                worker.tell(kind, execution.number, payload)

    def check(self, now: float) -> None:
        """Ping workers, and kill those that hang; call it twice a second."""
        for worker in self.live:
            if worker.overdue(now, self._plan.run_bound_s):
                log.warning("worker killed: run() exceeded its time limit", pid=worker.pid)
                worker.kill(verdicts.TIMEOUT)
            elif worker.unresponsive(now, self._plan.liveness):
                log.warning("worker killed: it does not respond", pid=worker.pid)
                worker.kill(verdicts.LIVENESS)
        for queue in (self._pending, self._suspects):
            for execution in [one for one in queue if one.deadline_s <= now]:
                queue.remove(execution)
                self._sink.expired(execution)

    def worker_ready(self, worker: Worker) -> None:
        self.asynchronous = worker.asynchronous
        self.report = None
        self.failed_starts.clear()
        self._changed()
        self._pump()

    def worker_failed(self, worker: Worker, report: dict[str, Any]) -> None:
        self.report = report

    def worker_ended(self, worker: Worker) -> None:
        self.workers.remove(worker)
        executions = list(worker.executions.values())
        worker.executions.clear()
        if not self._stopping:
            lasted = worker.has_lasted(monotonic())
            self._early_deaths = 0 if lasted else self._early_deaths + 1
            self.restarts += 1
            if not worker.ready_at and worker.exit_code is not None:
                self.failed_starts.append(worker.exit_code)
            log.warning(
                "worker ended", pid=worker.pid, exit_code=worker.exit_code,
                why=worker.doomed, requests=len(executions),
            )  # fmt: skip
            self._tasks.start(self._replace(self._early_deaths), "spawn")
        self._bury(worker, executions)
        self._changed()
        self._pump()

    def answered(self, worker: Worker, execution: Execution, kind: int, payload: bytes) -> None:
        if kind in (frames.ANSWER, frames.END):
            worker.has_answered = True
            del worker.executions[execution.number]
            if worker.executions and not worker.asynchronous:
                next(iter(worker.executions.values())).sent_s = monotonic()
        self._sink.answered(execution, kind, payload)
        if self._pending or self._suspects or worker.exclusive:
            self._pump()

    def recalled(self, worker: Worker, execution: Execution) -> None:
        """A worker gave back what it had not begun."""
        self._sink.recalled(execution)
        if self._pending or self._suspects or worker.exclusive:
            self._pump()

    def _bury(self, worker: Worker, executions: list[Execution]) -> None:
        found = verdicts.judge(
            executions,
            asynchronous=worker.asynchronous,
            alone=worker.exclusive,
            idempotent=self._plan.idempotent,
            why=worker.doomed or verdicts.DIED,
            late=monotonic() - self._plan.run_bound_s,
        )
        for execution in found.suspect:
            execution.deaths += 1
        self._pending.extendleft(reversed(found.innocent))
        self._suspects.extend(found.suspect)
        for execution, reason in found.lost:
            self._sink.lost(execution, reason)

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
        active = sum(len(one.executions) for one in self.workers) + self.waiting
        room = verdicts.retries_at_once(active) - sum(1 for one in exclusive if one.executions)
        for worker in exclusive:
            if not worker.executions:
                worker.exclusive = bool(self._suspects)
                if self._suspects and room > 0:
                    room -= 1
                    self._send(worker, self._suspects.popleft())
        if self._suspects and not exclusive and (free := least_loaded(self.workers)) is not None:
            free.exclusive = True  # once what it runs is done, it takes suspects only
            if not free.executions:
                self._send(free, self._suspects.popleft())
        if self.open_workers != before:
            self._changed()

    def _pick(self) -> Worker | None:
        worker = least_loaded(self.workers)
        if worker is None or (not worker.asynchronous and len(worker.executions) >= self.depth):
            return None
        return worker

    def _send(self, worker: Worker, execution: Execution) -> None:
        now = monotonic()
        if execution.deadline_s <= now:
            self._sink.expired(execution)
            return
        execution.sent_s = now
        worker.send(execution)

    def _changed(self) -> None:
        self.changed.set()
        self._sink.capacity_changed()


async def _ended(workers: list[Worker]) -> None:
    await asyncio.gather(*(worker.ended() for worker in tuple(workers)))


def least_loaded(workers: list[Worker]) -> Worker | None:
    """Of those that take ordinary requests; an idle one at once."""
    best: Worker | None = None
    for worker in workers:
        if worker.ready and not worker.exclusive and not worker.doomed:
            if not worker.executions:
                return worker
            if best is None or len(worker.executions) < len(best.executions):
                best = worker
    return best
