"""Large bodies at the edge: which go by file, where the files lie, and answers read back."""

from __future__ import annotations

from typing import Final

import structlog

from headrace_bus.routing.bodies.shared_file import HANDED_BYTES, Bodies, SharedFile, answer_size
from headrace_bus.wire.envelope import Answer
from headrace_services.ingress.exchange import Exchange

log = structlog.get_logger(__name__)

PIECE_BYTES: Final = 1024 * 1024  # of an answer that is read as the client takes it
WHOLE_BYTES: Final = 8 * 1024 * 1024  # a larger answer is never in memory at once


class LargeBodies:
    """The files of one edge. Nameless, so none is left behind by an end of any kind."""

    def __init__(self, bodies: Bodies) -> None:
        self.bodies = bodies
        self._answer_large: set[tuple[str, str]] = set()

    def enclose(self, exchange: Exchange, deployment: str) -> SharedFile | None:
        """The file of a request: for its own large body, or for a large answer it may get."""
        file, size = exchange.file, len(exchange.body)
        if file is not None:
            return file
        expects = self._answer_large and (exchange.endpoint, deployment) in self._answer_large
        if size < HANDED_BYTES and not expects:
            return None
        try:
            file = SharedFile(self.bodies)
            if size >= HANDED_BYTES:
                file.add(exchange.body)
                exchange.body = b""
        except OSError as error:
            log.warning("a large body is sent without a file", error=str(error))
            return None
        exchange.file = file
        return file

    def left_bytes(self, exchange: Exchange, deployment: str, answer: Answer) -> int | None:
        """Bytes of the answer left in the exchange's file; None when the message has it."""
        if len(answer.body) >= HANDED_BYTES:
            self._answer_large.add((exchange.endpoint, deployment))
        return answer_size(answer.head) if exchange.file is not None else None
