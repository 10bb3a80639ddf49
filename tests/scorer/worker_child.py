"""A real worker process, spoken to over its frames by a test without an event loop."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, Self

from headrace_bus.wire.head import request_head, split_answer
from headrace_scorer.worker import frames, launcher

BOUND_S: Final = 40.0
JSON: Final = [("content-type", "application/json")]


class WorkerChild:
    """`with WorkerChild(folder, script) as worker: worker.ask(...)`."""

    def __init__(
        self, folder: Path, script: str, *, python: str = sys.executable, **variables: str
    ) -> None:
        (folder / "score.py").write_text(script)
        self._folder = folder
        self._python = python
        self._variables = variables
        self._number = 0
        self._data_frames: list[frames.Frame] = []
        self._control_frames: list[frames.Frame] = []
        self._decoders = {"data": frames.Decoder(), "control": frames.Decoder()}
        self.console = folder / "console.log"

    def __enter__(self) -> Self:
        self.data, theirs_data = socket.socketpair()
        self.control, theirs_control = socket.socketpair()
        with self.console.open("wb") as console:
            self.process = subprocess.Popen(
                launcher.command(self._python, theirs_data.fileno(), theirs_control.fileno()),
                cwd=self._folder,
                env={
                    "PATH": os.environ["PATH"],
                    "AML_APP_ROOT": str(self._folder),
                    "AZUREML_ENTRY_SCRIPT": "score.py",
                    **self._variables,
                },
                stdout=console,
                stderr=console,
                pass_fds=(theirs_data.fileno(), theirs_control.fileno()),
                process_group=0,
            )
        for one in (theirs_data, theirs_control):
            one.close()
        for one in (self.data, self.control):
            one.settimeout(BOUND_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.data.close()
        self.control.close()
        self.process.wait(BOUND_S)

    def started(self) -> dict[str, Any]:
        """READY's words. Fails with the console when the worker does not start."""
        kind, _, payload = self.told()
        assert kind == frames.READY, self.console.read_text()
        found: dict[str, Any] = json.loads(payload)
        return found

    def told(self) -> frames.Frame:
        """The next frame of the control socket."""
        return self._next(self.control, "control", self._control_frames)

    def tell(self, kind: int, number: int = 0, payload: bytes = b"") -> None:
        self.control.sendall(frames.encode(kind, number, payload))

    def send(
        self,
        body: bytes = b"",
        *,
        method: str = "POST",
        path: str = "/score",
        query: str = "",
        headers: list[tuple[str, str]] | None = None,
    ) -> int:
        self._number += 1
        head = request_head(method, path, query, JSON if headers is None else headers)
        self.data.sendall(frames.encode_call(self._number, head, body))
        return self._number

    def next(self) -> frames.Frame:
        """The next frame of the data socket."""
        return self._next(self.data, "data", self._data_frames)

    def ask(self, body: bytes = b"", **fields: Any) -> Answered:
        number = self.send(body, **fields)
        kind, found, payload = self.next()
        assert (kind, found) == (frames.ANSWER, number)
        return Answered(decode_reply(payload))

    def _next(self, one: socket.socket, name: str, kept: list[frames.Frame]) -> frames.Frame:
        while not kept:
            data = one.recv(65536)
            if not data:
                raise EOFError(self.console.read_text())
            kept += self._decoders[name].feed(data)
        return kept.pop(0)


def decode_reply(payload: bytes) -> frames.Reply:
    status, exec_us, reason, head, body = frames.open_reply(payload)
    return frames.Reply(status, exec_us, reason, list(split_answer(head)), body)


class Answered:
    """One whole answer, easy to compare."""

    def __init__(self, reply: frames.Reply) -> None:
        self.status = reply.status
        self.exec_us = reply.exec_us
        self.pairs = reply.headers
        self.headers = dict(reply.headers)
        self.body = reply.body

    @property
    def json(self) -> Any:
        return json.loads(self.body)
