"""What a command can fail with, the exit code of each, and the four parts it is told in.

HeadraceError
+-- CommandError            carries its exit code and the way to more
    +-- NotOffered          in the table, not built yet            2
    +-- BadUsage            options that do not go together        2
    +-- ApiError            control or ingress answered an error   3 4 6 7, else 1
    +-- OperationFailed     a long-running operation ended Failed  5
    +-- Unreachable         nothing answers                        8
    +-- WaitedTooLong       --timeout passed                       124
    +-- Detached            Ctrl-C while the platform goes on      130
"""

from __future__ import annotations

import errno
from typing import Final

from headrace_api.errors import Conflict, Forbidden, HeadraceError, NotFound, Unauthorized

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
NOT_ALLOWED: Final = 4
OPERATION_FAILED: Final = 5
CONFLICT: Final = 6
THROTTLED: Final = 7
UNREACHABLE: Final = 8
TIMED_OUT: Final = 124
INTERRUPTED: Final = 130

EXIT_CODES: Final = {
    OK: "done",
    FAILED: "failed",
    USAGE: "wrong usage, or not supported yet",
    NOT_FOUND: "not found",
    NOT_ALLOWED: "not authorised, or forbidden",
    OPERATION_FAILED: "the operation ended as Failed or Canceled",
    CONFLICT: "conflict with another change",
    THROTTLED: "too many requests, or out of quota",
    UNREACHABLE: "the platform does not answer",
    TIMED_OUT: "--timeout passed",
    INTERRUPTED: "interrupted; operations already started continue",
}
_OTHER_HOME: Final = "--home DIR or HEADRACE_HOME chooses another place"
_SYSTEM_HINTS: Final = {
    errno.ENOSPC: "free some disk space; headrace down --purge removes a home",
    errno.EDQUOT: "free some of that quota; headrace down --purge removes a home",
    errno.EACCES: _OTHER_HOME,
    errno.EPERM: _OTHER_HOME,
    errno.EROFS: _OTHER_HOME,
    errno.ENOTDIR: _OTHER_HOME,
    errno.EEXIST: _OTHER_HOME,
}
_BY_STATUS: Final = {
    401: NOT_ALLOWED,
    403: NOT_ALLOWED,
    404: NOT_FOUND,
    409: CONFLICT,
    412: CONFLICT,
    429: THROTTLED,
    503: UNREACHABLE,
}


class CommandError(HeadraceError):
    """A failure of a command in four parts: what, where and why, a hint, the way to more."""

    exit_code: int = FAILED

    def __init__(
        self, message: str, *, label: str = "", detail: str = "", hint: str = "", more: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.label = label
        """The error's code, shown in brackets."""
        self.detail = detail
        self.more = more


class NotOffered(CommandError):
    """In the table, not built yet."""

    exit_code = USAGE


class BadUsage(CommandError):
    """Options that do not go together, or one that is missing."""

    exit_code = USAGE


class ApiError(CommandError):
    """An HTTP answer that is an error."""

    def __init__(self, status_code: int, label: str, message: str, *, detail: str = "") -> None:
        super().__init__(message, label=label, detail=detail, hint=_hint(status_code))
        self.status_code = status_code
        self.exit_code = _BY_STATUS.get(status_code, FAILED)


class OperationFailed(CommandError):
    """A long-running operation ended as Failed or Canceled."""

    exit_code = OPERATION_FAILED


class Unreachable(CommandError):
    """Nothing answers at the address."""

    exit_code = UNREACHABLE


class WaitedTooLong(CommandError):
    """--timeout passed before the state was reached."""

    exit_code = TIMED_OUT


class Detached(CommandError):
    """Interrupted while the platform goes on."""

    exit_code = INTERRUPTED


def of_system(error: OSError) -> CommandError:
    """What the system refused: no room, no right, not a folder."""
    where = f"{error.filename}: " if error.filename else ""
    why = error.strerror or str(error) or type(error).__name__
    return CommandError(f"{where}{why}", hint=_SYSTEM_HINTS.get(error.errno or 0, ""))


def exit_code_of(error: HeadraceError) -> int:
    """The exit code of any error of ours."""
    if isinstance(error, CommandError):
        return error.exit_code
    if isinstance(error, NotFound):
        return NOT_FOUND
    if isinstance(error, Unauthorized | Forbidden):
        return NOT_ALLOWED
    if isinstance(error, Conflict):
        return CONFLICT
    return UNREACHABLE if error.status == 503 else FAILED


def parts(error: HeadraceError) -> str:
    """The error as the terminal shows it, without a final newline."""
    label = getattr(error, "label", "") or ""
    lines = [f"error: {error.message}" + (f"   [{label}]" if label else "")]
    detail = str(getattr(error, "detail", "") or "")
    lines += [f"    {line}" if line else "" for line in detail.splitlines()]
    if error.hint:
        lines.append(f"  hint: {error.hint}")
    if more := getattr(error, "more", ""):
        lines.append(f"  more: {more}")
    return "\n".join(lines)


def _hint(status_code: int) -> str:
    match status_code:
        case 401:
            return "the token belongs to another platform: compare --home with headrace status"
        case 429:
            return "wait and try again, or raise the limit"
        case 503:
            return "headrace status"
        case 507:
            return "free disk space where the platform's home is, then try again"
        case _:
            return ""
