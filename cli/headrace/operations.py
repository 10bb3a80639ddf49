"""Waiting for long-running operations: phases with their own times, and a Ctrl-C that detaches."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import click

from headrace import errors
from headrace.call import Call
from headrace.client import Client, local_target
from headrace.http_client import Answer
from headrace_api.operation import OperationView, read_operation

PHASES: Final = ("fetch", "environment", "load")  # of a start, one after the other
FIRST_POLL_S: Final = 0.02
POLL_SHARE: Final = 0.1  # of the time waited so far: an end is noticed a tenth late at the most
DEFAULT_RETRY_AFTER_S: Final = 1.0
MAX_RETRY_AFTER_S: Final = 60.0
UNREACHABLE_FOR_S: Final = 60.0  # control may be restarting; the operation survives that


@dataclass(slots=True, kw_only=True)
class Progress:
    """Shows each phase once, when it is done."""

    call: Call
    shown: set[str] = field(default_factory=set)
    started: float = field(default_factory=time.monotonic)
    _live: bool = False

    def show(self, view: OperationView) -> None:
        for name, seconds in view.steps:
            if name not in self.shown:
                self.shown.add(name)
                self.clear()
                self.call.say(f"  ✓ {name:<12} {seconds:.1f} s")
        self._tick()

    def show_failed(self, what: str) -> None:
        """Mark the phase that a deployment's start did not get past."""
        left = [phase for phase in PHASES if phase not in self.shown]
        if what.startswith("deployment ") and left:
            self.call.say(f"  ✗ {left[0]}")

    def clear(self) -> None:
        if self._live:
            click.echo("\r\x1b[K", err=True, nl=False)
            self._live = False

    def _tick(self) -> None:
        if sys.stderr.isatty() and not self.call.settings.only_show_errors:
            elapsed_s = time.monotonic() - self.started
            click.echo(f"\r  … {elapsed_s:.0f} s", err=True, nl=False)
            self._live = True


def finish(call: Call, answer: Answer, *, what: str, resume: str) -> None:
    """Wait until the operation that a write began has succeeded.

    `what` names it in messages, `resume` is the command that waits for it again.
    Raises OperationFailed, Detached, Unreachable.
    """
    url = answer.headers.get("azure-asyncoperation")
    if not url or call.flag("no_wait"):
        return
    progress = Progress(call=call)
    try:
        view = _poll(call.client, local_target(url), _retry_after_s(answer.headers), progress.show)
    except KeyboardInterrupt:
        progress.clear()
        raise errors.Detached(
            f"{what} is still running; only this command stopped waiting", hint=resume
        ) from None
    progress.clear()
    if not view.succeeded:
        progress.show_failed(what)
        raise failed(view, what)


def failed(view: OperationView, what: str) -> errors.OperationFailed:
    """The failure, with the user's traceback as its detail."""
    if view.error is None:
        return errors.OperationFailed(f"{what} ended as {view.status}")
    message, _, detail = view.error.message.partition("\n")
    return errors.OperationFailed(
        f"{what} failed: {message}",
        label=view.error.code,
        detail="\n".join(filter(None, [detail.strip("\n"), *view.error.others])),
        hint=view.error.hint,
    )


def _poll(
    client: Client, target: str, retry_after_s: float, show: Callable[[OperationView], None]
) -> OperationView:
    began_s, lost_at = time.monotonic(), 0.0
    while True:
        try:
            answer = client.call("GET", target)
            lost_at = 0.0
        except errors.Unreachable:
            lost_at = lost_at or time.monotonic()
            if time.monotonic() - lost_at > UNREACHABLE_FOR_S:
                raise
        else:
            view = read_operation(answer.json())
            show(view)
            if view.done:
                return view
            retry_after_s = _retry_after_s(answer.headers)
        time.sleep(min(poll_pause_s(time.monotonic() - began_s), retry_after_s))


def poll_pause_s(waited_s: float) -> float:
    """The pause before the next look at what was begun so long ago. Pure."""
    return max(FIRST_POLL_S, POLL_SHARE * waited_s)


def _retry_after_s(headers: Mapping[str, str]) -> float:
    """Seconds; fractions are allowed, dates are not."""
    try:
        asked_s = float(headers.get("retry-after", DEFAULT_RETRY_AFTER_S))
    except ValueError:
        return DEFAULT_RETRY_AFTER_S
    return min(max(asked_s, 0.0), MAX_RETRY_AFTER_S) if asked_s == asked_s else 1.0


def wait_for(
    call: Call, look: Callable[[], str | None], *, what: str, timeout_s: float | None
) -> None:
    """Poll a provisioning state until `--for` is reached; None means it does not exist.

    Raises OperationFailed, WaitedTooLong, NotFound by way of ApiError.
    """
    wanted = call.text("for") or "deployed"
    began_s = time.monotonic()
    deadline = None if timeout_s is None else began_s + timeout_s
    while True:
        state = look()
        if wanted == "deleted" and state is None:
            return
        if wanted == "deployed" and state is None:
            raise errors.ApiError(404, "ResourceNotFound", f"there is no {what}")
        if wanted == "deployed" and state == "Succeeded":
            return
        if wanted == "deployed" and state in ("Failed", "Canceled"):
            raise errors.OperationFailed(f"{what} is {state}")
        if deadline is not None and time.monotonic() >= deadline:
            raise errors.WaitedTooLong(f"{what} is {state} after {timeout_s} s, not {wanted}")
        time.sleep(min(poll_pause_s(time.monotonic() - began_s), DEFAULT_RETRY_AFTER_S))
