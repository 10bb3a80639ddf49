"""A message as handlers get it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from headrace_bus.client.headers import ASKED, NO_RESPONDERS, parse_headers


class Message(NamedTuple):
    """What was published, by whom is unknown."""

    raw_subject: bytes
    raw_reply: bytes
    data: bytes
    raw_headers: bytes | None = None

    @property
    def subject(self) -> str:
        """Decoded at each call, as an answer's is seldom looked at."""
        return self.raw_subject.decode()

    @property
    def reply(self) -> str:
        """Where an answer goes; empty when none is wanted."""
        return self.raw_reply.decode()

    @property
    def headers(self) -> Mapping[str, str] | None:
        """Parsed at each call; an inline status is under `Status` and `Description`."""
        return None if self.raw_headers is None else parse_headers(self.raw_headers)

    @property
    def no_responders(self) -> bool:
        """Whether the server says that nobody listens where this would be the answer from."""
        raw = self.raw_headers
        return raw is not None and not self.data and raw.startswith(NO_RESPONDERS)

    @property
    def asked(self) -> str:
        """The subject on which nobody listens, by `no_responders`; empty when not said."""
        return (self.headers or {}).get(ASKED, "")


_new: Final = tuple.__new__


def make_message(subject: bytes, reply: bytes, data: bytes, header: bytes | None) -> Message:
    """`Message(...)` for the hot path, past the generated constructor."""
    return _new(Message, (subject, reply, data, header))
