"""The life of a worker: console, script, init, then the loop until the scorer lets go.

asyncio is imported for scripts that use it only: it is a third of the rest's imports.
"""

from __future__ import annotations

import faulthandler
import functools
import inspect
import json
import os
import socket
import sys
from typing import Any, Final

from . import aml_http, console, frames, lifetime, prctl, script
from .control import Control
from .serve_batch import BatchLoop
from .serve_sync import SyncLoop
from .service import Service
from .swagger import Swagger

DEFAULT_TIMEOUT_MS: Final = 3_600_000
INIT_FAILED: Final = 3  # exit code, as the original server has it


def main(data_fd: int, control_fd: int) -> None:
    """Return when the scorer asks to stop. The two sockets are inherited from it; the rest is
    environment.
    """
    lifetime.follow_parent()
    prctl.fine_timers()
    data, control_socket = _socket(data_fd), _socket(control_fd)
    app_root = os.environ.get("AML_APP_ROOT") or os.getcwd()
    console.capture(app_root)
    faulthandler.enable(file=2)  # a segfault leaves its stack on the console
    control = Control(control_socket)
    control.start()
    service, loop = _load(control, app_root)
    # A duplicate, as an event loop closes its own.
    control.on_stop = functools.partial(lifetime.end_in_order, data.dup())
    console.log.info("Scoring timeout is set to %d", int(service.timeout_s * 1e3))
    console.log.info("Worker with pid %d ready for serving traffic", os.getpid())
    batch = service.script.batch
    # To the scorer a batched worker is as an asynchronous one: it takes many at once.
    many = service.script.asynchronous or batch is not None
    ready = {"async": many, "python": sys.version.split()[0]}
    control.send(frames.READY, json.dumps(ready).encode())
    if service.script.asynchronous:
        _serve_async(service, control, data, loop)
    elif batch is not None:
        BatchLoop(service, batch, data, control).run()
    else:
        SyncLoop(service, data, control).run()
    lifetime.leave_if_forked(None)


def _serve_async(service: Service, control: Control, data: socket.socket, loop: Any) -> None:
    """Serve on the loop that init saw, whichever is the current one now."""
    import asyncio

    from . import event_loop
    from .serve_async import AsyncLoop

    async def serve() -> None:
        await AsyncLoop(service, control).run(data)

    if loop.is_closed():
        loop = event_loop.new()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(serve())


def _load(control: Control, app_root: str) -> tuple[Service, Any]:
    """Load the script and call its init; a failure is reported and ends the process."""
    phase = "import"
    try:
        aml_http.install()
        loaded = script.load(app_root, os.environ.get("AZUREML_ENTRY_SCRIPT", ""))
        phase = "init"
        loop = _init(loaded)
        timeout_ms = int(os.environ.get("SCORING_TIMEOUT_MS") or DEFAULT_TIMEOUT_MS)
        swagger = Swagger(app_root, loaded.run, loaded.decorated)
        return Service(loaded, swagger, timeout_ms), loop
    except BaseException as error:
        lifetime.leave_if_forked(error)
        _give_up(control, error, phase)
        raise


def _init(loaded: script.Script) -> Any:
    """Call init; returns the event loop of an `async def run`."""
    loop = None
    if loaded.asynchronous:
        import asyncio

        from . import event_loop

        loop = event_loop.new()
        asyncio.set_event_loop(loop)  # what init makes on the loop must be on the one that serves
    console.log.info("Invoking user's init function")
    made = loaded.init()
    if inspect.isawaitable(made):
        _complete(made, loop)
    lifetime.leave_if_forked(None)
    console.log.info("User's init has completed successfully")
    return loop


def _complete(made: Any, loop: Any) -> None:
    """Run an awaitable to its end, on the loop that serves where there is one."""
    import asyncio

    async def wait() -> None:
        await made

    (loop or asyncio.new_event_loop()).run_until_complete(wait())


def _give_up(control: Control, error: BaseException, phase: str) -> None:
    told = script.report(error, phase, os.environ.get("AZUREML_MODEL_DIR", ""))
    console.log.error(
        "User's init function failed" if phase == "init" else "User's script cannot be loaded"
    )
    console.log.error("Encountered Exception: %s", told["traceback"])
    if told["listing"]:
        console.log.info("Model Directory Contents:")
        for line in told["listing"]:
            console.log.info("%s", line)
    console.finish()
    control.send(frames.FAILED, json.dumps(told).encode())
    os._exit(INIT_FAILED)


def _socket(descriptor: int) -> socket.socket:
    os.set_inheritable(descriptor, False)
    return socket.socket(fileno=descriptor)
