"""Large bodies of requests whose instance cannot open our files: another machine or user.

    ingress -> instance   request with hr-pull = <size>, no body
    instance -> ingress   PULL(first, n)            ingress -> instance   Piece, Piece, ...
    instance -> ingress   LEFT, hr-size = <size>    a large answer waits there
    ingress -> instance   Pull(first, n)            instance -> ingress   PIECE, PIECE, ...
    ingress -> instance   Pull(past the last, 0)    instance -> ingress   DONE, hr-size, no body

Both sides spool to a nameless file, so memory stays flat, and a retry at another instance pulls
the body again. Pieces go where requests and answers go: no identity needs a further right.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from headrace_bus.routing.bodies.pulls import Pulled, Pulls
from headrace_bus.routing.bodies.shared_file import Bodies, SharedFile, answer_size
from headrace_bus.routing.exchange.refusals import Refusal, answer_too_large, no_room
from headrace_bus.wire.envelope import PIECE_BYTES, Answer
from headrace_bus.wire.instance_control import Piece, Pull

if TYPE_CHECKING:
    from headrace_bus.routing.exchange.call import Call

log = structlog.get_logger(__name__)

_MOST: Final = 64  # pieces at one asking, whatever an instance says

Tell = Callable[[Pull | Piece], None]
Refuse = Callable[[Refusal], None]


class FarBodies:
    """One gateway's side of it."""

    def __init__(self, bodies: Bodies | None) -> None:
        """Without a place for files, a large answer is refused."""
        self._bodies = bodies
        self._pulls = Pulls()

    def give(self, call: Call, asked: Answer, tell: Tell) -> None:
        """The instance asks for pieces of the body."""
        file = call.incoming.file
        if file is None:
            return
        for number in range(asked.seq, asked.seq + min(asked.status, _MOST)):
            data = file.body(PIECE_BYTES, number * PIECE_BYTES)
            if not data:
                return
            tell(Piece(request_id=call.request_id, number=number, data=data))

    def fetch(self, call: Call, left: Answer, tell: Tell, refuse: Refuse) -> None:
        """A large answer waits at the instance; said again, what is on the way may be lost."""
        size = answer_size(left.head)
        if call.spool is not None and call.spool_epoch == left.epoch:
            self._pulls.again(call.request_id)
            if call.spool.answer_bytes == size:
                tell(_all_here(call, size))
            return
        if self._bodies is None or size is None or size > call.incoming.limit_bytes:
            refuse(answer_too_large(size or 0, call.incoming.limit_bytes))
            return
        self.drop(call)
        try:
            spool = SharedFile(self._bodies)
        except OSError as error:
            _full(refuse, error)
            return
        call.spool, call.spool_epoch = spool, left.epoch
        pulled = Pulled(
            size,
            ask=lambda first, n: tell(Pull(request_id=call.request_id, first=first, n=n)),
            write=spool.add_answer,
            done=lambda: tell(_all_here(call, size)),
            failed=partial(_full, refuse),
        )
        self._pulls.start(call.request_id, pulled)

    def piece(self, call: Call, piece: Answer) -> None:
        self._pulls.piece(call.request_id, piece.seq, piece.body)

    def end(self, call: Call) -> None:
        """The instance has had its last word."""
        self._pulls.drop(call.request_id)

    def drop(self, call: Call) -> None:
        """The answer is not wanted any more, or comes from another instance."""
        self._pulls.drop(call.request_id)
        call.spool = None

    def tick(self) -> None:
        """Each half second."""
        self._pulls.tick()


def _all_here(call: Call, size_bytes: int) -> Pull:
    return Pull(request_id=call.request_id, first=-(-size_bytes // PIECE_BYTES), n=0)


def _full(refuse: Refuse, error: OSError) -> None:
    log.warning("there is no room for a large answer", error=str(error))
    refuse(no_room("an answer"))
