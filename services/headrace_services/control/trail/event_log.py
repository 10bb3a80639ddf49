"""An event for each write of the API: who did what to which resource, when, and how it ended."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import structlog

from headrace_api import arm
from headrace_api.errors import HeadraceError, InvalidInput
from headrace_bus.errors import BusError
from headrace_bus.store.events import Events
from headrace_services.control.arm.request import Answer, Call
from headrace_telemetry.clock import timestamp

log = structlog.get_logger(__name__)

DONE: Final = "done"
REFUSED: Final = "refused"
USED: Final = "used"
KINDS: Final = (DONE, REFUSED, USED)
"""Kept apart, so that what was changed is not pushed out by who may change nothing."""
SUCCEEDED: Final = "Succeeded"
FAILED: Final = HeadraceError.code
"""A fault of ours: how far the write came is not known."""
LEFT: Final = "ClientClosedRequest"
"""The client went before its body was read; nothing was changed."""
TYPE: Final = "headrace.control.write"
DEFAULT_COUNT: Final = 100
MAX_COUNT: Final = 1_000
MAX_WORD_CHARS: Final = 256
MAX_RESOURCE_CHARS: Final = 768
_CHANGES_NOTHING: Final = ("/token/action", "/getlogs/action")  # scorers and readers may
_SHOWN: Final = "/:@#=,;+()$ "  # as they are; neither these nor what `quote` makes grow in JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLog:
    """Keeps the events, and shows them at `GET <workspace>/events`.

    A write is answered after its event is stored. Never a body, never a secret: names alone.
    """

    events: Events

    async def record(self, who: str, action: str, resource: str, outcome: str) -> None:
        """Keep it, or say in the log why it could not be kept.

        `outcome` is SUCCEEDED or the code of the error.
        """
        data = {
            "who": _plain(who, MAX_WORD_CHARS),
            "action": _plain(action, MAX_WORD_CHARS),
            "outcome": outcome,
        }
        fields = {
            "specversion": "1.0",
            "id": uuid.uuid4().hex,
            "source": "/headrace/control",
            "type": TYPE,
            "subject": _plain(resource, MAX_RESOURCE_CHARS),
            "time": timestamp(),
            "datacontenttype": "application/json",
            "data": data,
        }
        try:
            await self.events.write(_kind(action, outcome), fields)
        except BusError as failure:
            log.warning("an event could not be stored", reason=failure.message, **data)

    async def list_all(self, call: Call) -> Answer:
        """The newest, newest first; `$top` says how many."""
        text = call.query.get("$top", str(DEFAULT_COUNT))
        if not (text.isascii() and text.isdecimal() and len(text) < 6):
            raise InvalidInput(f"$top is {text[:40]!r}: use a whole number", target="$top")
        found: list[dict[str, Any]] = await self.events.last(min(int(text), MAX_COUNT))
        return Answer(body=arm.collection(found))


def _kind(action: str, outcome: str) -> str:
    if outcome != SUCCEEDED:
        return REFUSED
    return USED if action.lower().endswith(_CHANGES_NOTHING) else DONE


def _plain(text: str, most: int) -> str:
    """Cut so that an event always fits: whoever may only be refused chooses the path."""
    return quote(text, safe=_SHOWN, errors="replace")[:most]
