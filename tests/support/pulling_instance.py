"""An instance that pulls large bodies, leaves large answers to be pulled, and can die inside."""

from __future__ import annotations

import asyncio
import math
from typing import Final

from headrace_bus.client.connection import Message
from headrace_bus.routing.admission.admission import Admitted, Duplicate
from headrace_bus.wire.envelope import (
    PIECE_BYTES,
    AnswerKind,
    Request,
    RequestFlag,
    decode_request,
)
from headrace_bus.wire.head import last_header, with_answer_header
from headrace_bus.wire.instance_control import Piece, Pull, decode_control
from headrace_telemetry.clock import monotonic
from support.echo_instance import EchoInstance

AT_A_TIME: Final = 3


class PullingInstance(EchoInstance):
    """Echoes; a body `large=<n>` is answered with n bytes that are left to be pulled."""

    pulls = True

    def __init__(self, *args: object, **more: object) -> None:
        super().__init__(*args, **more)  # type: ignore[arg-type]  # handed on as they came
        self.pieces_until_death = math.inf
        """Pieces sent or taken before it ends without a word."""
        self.silent = False
        """Takes what comes and does nothing."""
        self.reached: asyncio.Event = asyncio.Event()
        """A piece was sent or taken."""
        self._bodies: dict[str, bytearray] = {}
        self._requests: dict[str, tuple[Request, str]] = {}
        self._left: dict[str, bytes] = {}

    def _request(self, message: Message) -> None:
        request = decode_request(message.data)
        name, size = last_header(request.head)
        pulls = name == "hr-pull"
        if not pulls and not request.body.startswith(b"large="):
            super()._request(message)
            return
        verdict = self.admission.admit(
            request.request_id, request.ingress_id, request.flags, request.backlog, monotonic()
        )
        self._requests[request.request_id] = request, message.reply
        if isinstance(verdict, Duplicate):
            if request.request_id in self._left:
                self._announce(request.request_id)
            else:
                self._ask(request.request_id)
        elif isinstance(verdict, Admitted):
            self.seen.append(request)
            if pulls:
                assert request.body == b""
                self._bodies[request.request_id] = bytearray()
                self._sizes = int(size)
                self._ask(request.request_id)
            else:
                self._leave(request.request_id, b"x" * int(request.body[6:]))

    def _control(self, message: Message) -> None:
        told = decode_control(message.data)
        if isinstance(told, Piece):
            self._piece(told)
        elif isinstance(told, Pull):
            self._pull(told)
        else:
            super()._control(message)

    def _ask(self, request_id: str) -> None:
        if self.silent:
            return
        request, reply = self._requests[request_id]
        first = len(self._bodies[request_id]) // PIECE_BYTES
        asked = self._make(request, AnswerKind.PULL, AT_A_TIME)
        self._answer(reply, asked._replace(seq=first))

    def _piece(self, piece: Piece) -> None:
        if not self._lives():
            return
        body = self._bodies[piece.request_id]
        if piece.number * PIECE_BYTES != len(body):
            return
        body += piece.data
        if len(body) == self._sizes:
            self._leave(piece.request_id, bytes(body))
        elif len(body) // PIECE_BYTES % AT_A_TIME == 0:
            self._ask(piece.request_id)

    def _leave(self, request_id: str, answer: bytes) -> None:
        self._left[request_id] = answer
        self._announce(request_id)

    def _announce(self, request_id: str) -> None:
        request, reply = self._requests[request_id]
        size = str(len(self._left[request_id]))
        left = self._make(request, AnswerKind.LEFT, 200)
        self._answer(reply, left._replace(head=with_answer_header(left.head, "hr-size", size)))

    def _pull(self, pull: Pull) -> None:
        answer = self._left[pull.request_id]
        request, reply = self._requests[pull.request_id]
        if pull.first * PIECE_BYTES >= len(answer):
            self._requests.pop(pull.request_id)
            self.admission.finish(pull.request_id, monotonic())
            size = str(len(answer))
            done = self._make(request, AnswerKind.DONE, 200)
            self._answer(reply, done._replace(head=with_answer_header(done.head, "hr-size", size)))
            return
        for number in range(pull.first, pull.first + pull.n):
            if not self._lives():
                return
            data = answer[number * PIECE_BYTES : (number + 1) * PIECE_BYTES]
            piece = self._make(request, AnswerKind.PIECE, 0, data)
            self._answer(reply, piece._replace(seq=number))

    def _lives(self) -> bool:
        """Whether it goes on after this piece."""
        self.reached.set()
        if self.silent:
            return False
        self.pieces_until_death -= 1
        if self.pieces_until_death == 0:
            self._tasks.start(self._die(), "end")
        return self.pieces_until_death >= 0

    async def _die(self) -> None:
        """Without a word: no heartbeat comes any more."""
        self.silent = True
        await self.bus.close()


def retried(request: Request) -> bool:
    return bool(request.flags & RequestFlag.RETRY)
