"""Errors of the bus.

HeadraceError
+-- BusError
    +-- MalformedEnvelope       bytes that no codec of ours made
    +-- BusDisconnected         the server does not answer
    +-- RequestTimeout          nobody answered a request in time (also TimeoutError)
    +-- NoResponders            nobody listens on the subject; nothing was delivered
    +-- JetStreamRefused        the JetStream API answered with an error
        +-- JetStreamFull       it has no room for its streams
    +-- RevisionConflict        a compare-and-set lost (also Conflict)
    +-- LeaseLost               the lease expired or another holder has it (also Conflict)
    +-- StreamBroken            a streamed answer ended before its end
    +-- PayloadTooLarge         more than the server's max_payload, headers included
    +-- UnreadableName          what is kept of a blob's name is damaged
    +-- BlobNotFound            no bytes under this digest (also NotFound)
    +-- DigestMismatch          the bytes are not what their digest says
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from headrace_api.errors import Conflict, HeadraceError, NotFound

_NO_ROOM: Final = frozenset((10002, 10023, 10028, 10047, 10077))
_NO_ROOM_HINT: Final = (
    "NATS has no room for its streams: free disk space where the home is, or raise the server's "
    "max_file_store where it is an outside one"
)


class BusError(HeadraceError):
    """Anything that goes wrong between the parts."""


class MalformedEnvelope(BusError, ValueError):
    """Bytes on a subject that no codec of ours made."""

    code: ClassVar[str] = "MalformedEnvelope"
    status: ClassVar[int] = 400

    def __init__(self, part: str, found: str) -> None:
        super().__init__(f"malformed {part}: {found}")
        self.part = part


class BusDisconnected(BusError, ConnectionError):
    """The server does not answer."""

    code: ClassVar[str] = "ServiceUnavailable"
    status: ClassVar[int] = 503


class RequestTimeout(BusError, TimeoutError):
    """Nobody answered in time; whether the request was delivered is unknown."""

    code: ClassVar[str] = "GatewayTimeout"
    status: ClassVar[int] = 504

    def __init__(self, subject: str, timeout_s: float) -> None:
        super().__init__(f"no answer on {subject!r} within {timeout_s:g} s", target=subject)
        self.subject = subject
        self.timeout_s = timeout_s


class NoResponders(BusError):
    """Nobody listens on the subject: the request was not delivered and may be sent again."""

    code: ClassVar[str] = "ServiceUnavailable"
    status: ClassVar[int] = 503

    def __init__(self, subject: str) -> None:
        super().__init__(f"nobody listens on {subject!r}", target=subject)
        self.subject = subject


class JetStreamRefused(BusError):
    """The JetStream API answered with an error; `err_code` is the server's number for it."""

    def __init__(self, call: str, err_code: int, description: str, *, hint: str = "") -> None:
        super().__init__(f"JetStream {call}: {description} ({err_code})", target=call, hint=hint)
        self.call = call
        self.err_code = err_code

    @staticmethod
    def of(call: str, error: Mapping[str, Any]) -> JetStreamRefused:
        """The server's error as an exception; JetStreamFull when it has no room."""
        code, why = int(error.get("err_code", 0)), str(error.get("description", ""))
        if code in _NO_ROOM:
            return JetStreamFull(call, code, why, hint=_NO_ROOM_HINT)
        return JetStreamRefused(call, code, why)


class JetStreamFull(JetStreamRefused):
    """The server has no room for its streams."""

    code: ClassVar[str] = "InsufficientStorage"
    status: ClassVar[int] = 507


class RevisionConflict(BusError, Conflict):
    """Another writer changed the key first."""

    code: ClassVar[str] = "Conflict"
    status: ClassVar[int] = 409

    def __init__(self, key: str, expected: int) -> None:
        super().__init__(f"{key!r} is no longer at revision {expected}", target=key)
        self.key = key
        self.expected = expected


class LeaseLost(BusError, Conflict):
    """The lease expired or another holder has it; nothing was written."""

    code: ClassVar[str] = "LeaseLost"
    status: ClassVar[int] = 409

    def __init__(self, lease: str) -> None:
        super().__init__(f"lease {lease!r} is held by somebody else", target=lease)
        self.lease = lease


class PayloadTooLarge(BusError, ValueError):
    """A message larger than the server takes, headers included."""

    code: ClassVar[str] = "PayloadTooLarge"
    status: ClassVar[int] = 413

    def __init__(self, size_bytes: int, max_bytes: int) -> None:
        super().__init__(f"message of {size_bytes} bytes exceeds the server's {max_bytes} bytes")
        self.size_bytes = size_bytes
        self.max_bytes = max_bytes


class StreamBroken(BusError):
    """A streamed answer ended before its end; what came of it is already with the caller."""

    def __init__(self, request_id: str, reason: str) -> None:
        super().__init__(f"the streamed answer of {request_id} broke off: {reason}")
        self.reason = reason


class UnreadableName(BusError):
    """What lies under the key of a blob's name is not what the index writes there."""

    def __init__(self, key: str, names: str, why: str) -> None:
        super().__init__(
            f"what is kept of blob {names[:200]!r} cannot be read: {why}",
            hint="Upload it again, or delete it.",
            target=key,
        )
        self.why = why


class BlobNotFound(BusError, NotFound):
    """No bytes under this digest."""

    code: ClassVar[str] = "BlobNotFound"
    status: ClassVar[int] = 404

    def __init__(self, digest: str) -> None:
        super().__init__(f"no blob {digest}", target=digest)
        self.digest = digest


class DigestMismatch(BusError):
    """The bytes are not what their digest says; nothing was stored or handed out."""

    code: ClassVar[str] = "DigestMismatch"
    status: ClassVar[int] = 400

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(f"expected digest {expected}, found {found}")
        self.expected = expected
        self.found = found
