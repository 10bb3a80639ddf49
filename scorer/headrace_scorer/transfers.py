"""Large bodies of one instance that no message carries (`routing.exchange.remote_body`).

A body is pulled into a file of ours, which the worker opens as it would the ingress'; a large
answer is spooled and waits to be pulled. Either way the request keeps its slot, so the slots bound
how many files there are, and its deadline ends it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

import structlog

from headrace_bus.client.inbox import Inbox
from headrace_bus.client.message import Message
from headrace_bus.errors import BusDisconnected
from headrace_bus.routing.bodies.pulls import WINDOW, Pulled, Pulls, pieces
from headrace_bus.routing.bodies.shared_file import (
    HEADER,
    PULL_HEADER,
    SIZE_HEADER,
    Bodies,
    SharedFile,
    answer_size,
)
from headrace_bus.wire.envelope import (
    PIECE_BYTES,
    Answer,
    AnswerKind,
    Request,
    encode_answer,
)
from headrace_bus.wire.head import last_header, with_answer_header, with_header, without_last
from headrace_bus.wire.instance_control import Pull
from headrace_scorer.execution import Execution

log = structlog.get_logger(__name__)

LARGEST_BYTES: Final = 1024 * 1024 * 1024  # of an answer; a larger one is named, not kept
NOBODY_TIMES: Final = 4  # in a row; a NATS server that is back may know us before the ingress
NO_ROOM: Final = "no_room"
GONE: Final = "ingress_gone"
TIMEOUT: Final = "timeout"
_PULL: Final = f"\0{PULL_HEADER}\0".encode()
MALFORMED: Final = "malformed_request"


class Bus(Protocol):
    """What transfers need of it."""

    def publish(self, subject: str, data: bytes, reply: str = "") -> None: ...
    def open_inbox(self, handler: Handler) -> Inbox: ...


class Handler(Protocol):
    def __call__(self, message: Message, /) -> None: ...


class Owner(Protocol):
    """Who hears how a transfer ended; each calls `forget`."""

    def fetched(self, execution: Execution) -> None: ...
    def taken(self, execution: Execution, answer: Answer) -> None: ...
    def lost(self, execution: Execution, reason: str) -> None: ...
    def expired(self, execution: Execution) -> None: ...


@dataclass(slots=True)
class Transfer:
    """What is on its way for one request."""

    execution: Execution
    inbox: Inbox
    """Where the server says that nobody listens any more."""
    file: SharedFile
    """The body, and behind it the answer."""
    fetching: bool = False
    """The body still comes."""
    left: Answer | None = None
    """The announcement of an answer that waits here whole."""
    answer_bytes: int = 0
    full: bool = False
    """There was no room for the answer."""
    moved: bool = True
    nobody: int = 0

    @property
    def ours(self) -> bool:
        """Whether the request is here, and not at a worker."""
        return self.fetching or self.left is not None


def pulls(request: Request) -> bool:
    """Whether the body has to be asked for."""
    return request.head.rfind(_PULL) >= 0 and last_header(request.head)[0] == PULL_HEADER


class Transfers:
    """Those of one instance, by request id."""

    def __init__(self, bus: Bus, bodies: Bodies, epoch: int, owner: Owner) -> None:
        self._bus = bus
        self._bodies = bodies
        self._epoch = epoch
        self._owner = owner
        self._pulls = Pulls()
        self._open: dict[str, Transfer] = {}

    def fetch(self, execution: Execution) -> None:
        """Pull the body; `fetched` when it is whole."""
        _, size = last_header(execution.request.head)
        if not (size.isascii() and size.isdigit() and len(size) < 12):
            self._owner.lost(execution, MALFORMED)
            return
        transfer = self._begin(execution)
        if transfer is None:
            self._owner.lost(execution, NO_ROOM)
            return
        transfer.fetching = True
        pulled = Pulled(
            int(size),
            ask=partial(self._ask, transfer),
            write=transfer.file.add,
            done=partial(self._fetched, transfer),
            failed=partial(self._full, execution),
        )
        self._pulls.start(execution.request.request_id, pulled)

    def open(self, execution: Execution) -> None:
        """A large answer begins to come, perhaps after one of a worker that died with it."""
        transfer = self._open.get(execution.request.request_id)
        if transfer is None:
            self._begin(execution)
            return
        transfer.file.clear_answer()
        transfer.answer_bytes, transfer.full = 0, False

    def keep(self, execution: Execution, part: bytes) -> None:
        """Its next piece."""
        transfer = self._open.get(execution.request.request_id)
        if transfer is None:
            return
        transfer.answer_bytes += len(part)
        if transfer.full or transfer.answer_bytes > LARGEST_BYTES:
            return
        try:
            transfer.file.add_answer(part)
        except OSError as error:
            log.warning("there is no room for a large answer", error=str(error))
            transfer.full = True

    def body_of(
        self, execution: Execution, head: bytes, body: bytes, most: int
    ) -> tuple[bytes, bytes | None]:
        """Head and body of an answer; no body where it is larger than `most` and waits here.

        The worker may have left it behind a body of ours.
        """
        transfer = self._open.get(execution.request.request_id)
        behind = answer_size(head) if transfer is not None else None
        if transfer is not None and behind is not None:
            transfer.answer_bytes = behind
            head = without_last(head)
            return head, transfer.file.answer(behind) if behind <= most else None
        if len(body) <= most:
            return head, body
        self.open(execution)
        self.keep(execution, body)
        return head, None

    def leave(self, execution: Execution, answer: Answer) -> None:
        """Say that the answer waits; `taken` when the ingress has it."""
        transfer = self._open.get(execution.request.request_id)
        if transfer is None or transfer.full:
            self._owner.lost(execution, NO_ROOM)
            return
        size = str(transfer.answer_bytes)
        transfer.left = answer._replace(head=with_answer_header(answer.head, SIZE_HEADER, size))
        self._say(transfer, transfer.left)

    def holds(self, execution: Execution) -> bool:
        return execution.request.request_id in self._open

    def pull(self, execution: Execution, pull: Pull) -> None:
        """The ingress asks for pieces of an answer, or has them all."""
        transfer = self._open.get(execution.request.request_id)
        if transfer is None or transfer.left is None:
            return
        transfer.moved, transfer.nobody = True, 0
        if pull.first >= pieces(transfer.answer_bytes):
            self._owner.taken(execution, transfer.left)
            return
        last = min(pull.first + min(pull.n, WINDOW), pieces(transfer.answer_bytes))
        for number in range(pull.first, last):
            at = number * PIECE_BYTES
            data = transfer.file.answer(min(PIECE_BYTES, transfer.answer_bytes - at), at)
            self._say(transfer, self._word(execution, AnswerKind.PIECE, number, body=data))

    def piece(self, execution: Execution, number: int, data: bytes) -> None:
        """A piece of a body."""
        transfer = self._open.get(execution.request.request_id)
        if transfer is not None:
            transfer.nobody = 0
            self._pulls.piece(execution.request.request_id, number, data)

    def again(self, execution: Execution) -> None:
        """The connection of the ingress broke: what was on the way may be lost."""
        transfer = self._open.get(execution.request.request_id)
        if transfer is None:
            return
        if transfer.left is not None:
            self._say(transfer, transfer.left)
        else:
            self._pulls.again(execution.request.request_id)

    def cancel(self, execution: Execution) -> bool:
        """End what is on its way; False when the request is at a worker, or was never here."""
        transfer = self._open.get(execution.request.request_id)
        if transfer is None or not transfer.ours:
            return False
        execution.cancelled = True
        self._owner.lost(execution, "cancelled")
        return True

    def tick(self, now: float) -> None:
        """Each half second: ask or say again what nobody reacted to, and end what is late."""
        self._pulls.tick()
        for transfer in list(self._open.values()):
            execution, left = transfer.execution, transfer.left
            if execution.deadline_s <= now and left is not None:
                self._owner.lost(execution, TIMEOUT)
            elif execution.deadline_s <= now and transfer.fetching:
                self._owner.expired(execution)
            elif left is not None and not transfer.moved:
                self._say(transfer, left)
            transfer.moved = False

    def forget(self, execution: Execution) -> None:
        """The request has its end."""
        transfer = self._open.pop(execution.request.request_id, None)
        if transfer is not None:
            transfer.inbox.close()
            self._pulls.drop(execution.request.request_id)

    def _begin(self, execution: Execution) -> Transfer | None:
        try:
            file = SharedFile(self._bodies)
        except OSError as error:
            log.warning("there is no room for a large body", error=str(error))
            return None
        request_id = execution.request.request_id
        inbox = self._bus.open_inbox(partial(self._nobody, request_id))
        transfer = self._open[request_id] = Transfer(execution, inbox, file)
        return transfer

    def _fetched(self, transfer: Transfer) -> None:
        execution = transfer.execution
        transfer.fetching = False
        reference = transfer.file.reference(may_answer=True)
        head = with_header(without_last(execution.request.head), HEADER, reference)
        execution.request = execution.request._replace(head=head)
        self._owner.fetched(execution)

    def _ask(self, transfer: Transfer, first: int, n: int) -> None:
        self._say(transfer, self._word(transfer.execution, AnswerKind.PULL, first, count=n))

    def _word(
        self,
        execution: Execution,
        kind: AnswerKind,
        number: int,
        *,
        count: int = 0,
        body: bytes = b"",
    ) -> Answer:
        request_id = execution.request.request_id
        return Answer(kind, request_id, count, -1, 0, number, "", self._epoch, b"", body)

    def _say(self, transfer: Transfer, answer: Answer) -> None:
        try:
            self._bus.publish(
                transfer.execution.reply, encode_answer(answer), reply=transfer.inbox.subject
            )
        except BusDisconnected:
            return  # said again at a tick

    def _nobody(self, request_id: str, message: Message) -> None:
        transfer = self._open.get(request_id)
        if transfer is not None and message.no_responders:
            transfer.nobody += 1
            if transfer.nobody >= NOBODY_TIMES and transfer.ours:
                self._owner.lost(transfer.execution, GONE)

    def _full(self, execution: Execution, error: OSError) -> None:
        log.warning("there is no room for a large body", error=str(error))
        self._owner.lost(execution, NO_ROOM)
