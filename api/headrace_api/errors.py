"""The root of the error tree, and the errors every package may raise.

    HeadraceError
    +-- InvalidInput            a value somebody gave is wrong            400
    +-- NotFound                what was named does not exist             404
    +-- Conflict                somebody else changed it, or holds it     409
    +-- Unauthorized            no or a wrong credential                  401
    +-- Forbidden               the credential does not allow it          403
    +-- Unavailable             a part that is needed does not answer     503
    +-- NoRoom                  a disk or a quota is full                 507

Each class composes its message from its fields. `code` is what reaches the wire (ARM error codes,
azure_behaviour.md 3.5), `status` the HTTP status that carries it.
"""

from __future__ import annotations

import errno
from typing import ClassVar, Final

_FULL: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


class HeadraceError(Exception):
    """Anything Headrace raises on purpose."""

    code: ClassVar[str] = "InternalServerError"
    status: ClassVar[int] = 500

    def __init__(self, message: str, *, hint: str = "", target: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        """What the reader can do about it, as a sentence; empty when there is nothing to say."""
        self.target = target
        """The field, file or resource the message is about."""


class InvalidInput(HeadraceError, ValueError):
    """A value somebody gave is wrong; the message names where, what was found, what is allowed."""

    code: ClassVar[str] = "BadArgument"
    status: ClassVar[int] = 400


class NotFound(HeadraceError, LookupError):
    """What was named does not exist."""

    code: ClassVar[str] = "ResourceNotFound"
    status: ClassVar[int] = 404


class Conflict(HeadraceError):
    """Another writer was first, or another operation holds the resource."""

    code: ClassVar[str] = "Conflict"
    status: ClassVar[int] = 409


class Unauthorized(HeadraceError):
    """No credential, or one that is wrong or expired."""

    code: ClassVar[str] = "Unauthorized"
    status: ClassVar[int] = 401


class Forbidden(HeadraceError):
    """The credential is good but does not allow this."""

    code: ClassVar[str] = "Forbidden"
    status: ClassVar[int] = 403


class Unavailable(HeadraceError):
    """A part of the platform that is needed does not answer."""

    code: ClassVar[str] = "ServiceUnavailable"
    status: ClassVar[int] = 503


class NoRoom(HeadraceError):
    """A disk or a quota is full; nothing of what was sent is kept."""

    code: ClassVar[str] = "InsufficientStorage"
    status: ClassVar[int] = 507

    def __init__(self, what: str) -> None:
        super().__init__(
            f"there is no disk space left for {what}",
            hint="free disk space where the platform's home is, then try again",
        )

    @staticmethod
    def is_cause(error: OSError) -> bool:
        """Whether a file could not grow because its disk, its quota or its limit is reached."""
        return error.errno in _FULL
