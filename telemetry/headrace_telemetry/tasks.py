"""Background tasks that have a name, outlive no owner and never end unseen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

log = structlog.get_logger(__name__)


class Tasks:
    """The tasks one component owns. `stop` cancels them and waits until they are gone."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run work that may end by itself; an exception is logged with the task's name."""
        task = asyncio.create_task(work, name=f"{self._owner}:{name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def forever(
        self, work: Coroutine[Any, Any, Any], name: str, on_end: Callable[[], None] | None = None
    ) -> asyncio.Task[Any]:
        """Run work that must not end; when it does, say so and call `on_end`."""
        task = self.start(work, name)

        def ended(task: asyncio.Task[Any]) -> None:
            if not task.cancelled():
                log.error("a task that runs for ever has ended", task=task.get_name())
                if on_end is not None:
                    on_end()

        task.add_done_callback(ended)
        return task

    def cancel(self) -> list[asyncio.Task[Any]]:
        """Cancel what still runs, wait for nobody; return what that is."""
        running = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in running:
            task.cancel()
        return running

    async def stop(self) -> None:
        """Cancel what still runs and wait for it."""
        running = self.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def __len__(self) -> int:
        return len(self._tasks)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a task failed", task=task.get_name(), exc_info=task.exception())
