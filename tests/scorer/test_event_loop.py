"""The loop of an `async def run`: its timers end when they are due."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from headrace_scorer.worker import event_loop

ASKED_S = 0.0025  # asyncio's own loop waits 3 ms for it
TIMES = 40


def least_s(make: Callable[[], asyncio.AbstractEventLoop]) -> float:
    """The shortest of many sleeps; the machine's own delays are in the longer ones."""

    async def slept() -> float:
        begun = time.perf_counter()
        await asyncio.sleep(ASKED_S)
        return time.perf_counter() - begun

    loop = make()
    try:
        return min(loop.run_until_complete(slept()) for _ in range(TIMES))
    finally:
        loop.close()


def test_a_sleep_is_not_rounded_up_to_a_millisecond() -> None:
    fine_s, rounded_s = least_s(event_loop.new), least_s(asyncio.new_event_loop)

    assert ASKED_S <= fine_s < rounded_s


def test_sockets_threads_and_what_is_due_at_once_wake_it() -> None:
    async def woken() -> list[str]:
        seen: list[str] = []
        server = await asyncio.start_server(lambda _, out: out.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        asyncio.get_running_loop().call_later(60, seen.append, "never")
        reading, writing = await asyncio.open_connection("127.0.0.1", port)
        assert await reading.read() == b""
        seen.append("socket")
        seen.append(await asyncio.to_thread(lambda: "thread"))
        await asyncio.sleep(0)
        writing.close()
        server.close()
        return seen

    loop = event_loop.new()
    try:
        assert loop.run_until_complete(asyncio.wait_for(woken(), 30)) == ["socket", "thread"]
    finally:
        loop.close()


def test_a_loop_of_the_users_own_policy_is_left_alone() -> None:
    class Own(asyncio.SelectorEventLoop):
        pass

    class Policy(asyncio.DefaultEventLoopPolicy):
        def new_event_loop(self) -> asyncio.AbstractEventLoop:
            return Own()

    before = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(Policy())
    try:
        loop = event_loop.new()
        assert type(loop) is Own
        loop.close()
    finally:
        asyncio.set_event_loop_policy(before)
