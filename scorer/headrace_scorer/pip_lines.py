"""Lines of a requirements file: names, versions and addresses; nothing of this machine. Pure.

The text came alone, so a path has nothing to point at, and must not point at what is here. The
resolver also puts variables of its own process in the place of `${NAME}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement

from headrace_scorer.errors import LaunchRefused

MAX_SHOWN_CHARS: Final = 200
_COMMENT: Final = re.compile(r"(^|\s)#.*$")
_INDEX: Final = re.compile(
    r"(?:-i|-f|--index-url|--extra-index-url|--find-links)(?:\s+|=)(?P<url>\S+)"
)
_SWITCH: Final = re.compile(
    r"--(?:pre|prefer-binary|no-index|require-hashes)|--(?:no-binary|only-binary)(?:\s+|=)[\w.,:-]+"
)
_REMOTE: Final = re.compile(r"(?:git\+)?https?://\S+")
_HASHES: Final = re.compile(r"(\s+--hash[= ]\w+:[0-9a-f]+)+$")
_FILE: Final = re.compile(
    r"-(?:r|c|e|-requirement|-constraint|-editable)\b.*|-[rce]\S.*|file:.*|[./~].*"
    r"|[^@]*\.(?:whl|zip|tar\.gz|tgz|txt)(?:\s.*)?|[\w.-]+/.*"
)


def read(lines: Iterable[str]) -> list[str]:
    """The lines without comments and empty ones. Raises LaunchRefused, naming the line."""
    bare = (_COMMENT.sub("", line.strip()).strip() for line in lines)
    return [_checked(line) for line in bare if line]


def _checked(line: str) -> str:
    if "\n" in line or "\r" in line:
        raise _refused(line, "holds more than one line", "give each its own entry")
    if "${" in line:
        raise _refused(line, "names a variable, and none is put in its place", "write its value")
    if (index := _INDEX.fullmatch(line)) is not None:
        if _REMOTE.fullmatch(index["url"]) is None:
            raise _of_a_file(line)
        return line
    if _SWITCH.fullmatch(line) or _REMOTE.fullmatch(line):
        return line
    if _FILE.fullmatch(line):
        raise _of_a_file(line)
    if line.startswith("-"):
        raise _refused(line, "is an option that is not supported", "leave it out")
    return _requirement(line)


def _requirement(line: str) -> str:
    try:
        found = Requirement(_HASHES.sub("", line))
    except InvalidRequirement:
        raise _refused(line, "cannot be read", "use name==1.2.3 or name>=1.2,<2") from None
    if found.url is not None and _REMOTE.fullmatch(found.url) is None:
        raise _of_a_file(line)
    return line


def _of_a_file(line: str) -> LaunchRefused:
    return _refused(
        line,
        "refers to a file, but only this file's text was uploaded",
        "list the packages instead",
    )


def _refused(line: str, why: str, hint: str) -> LaunchRefused:
    shown = line[:MAX_SHOWN_CHARS]
    return LaunchRefused(f"requirement {shown!r} {why}", hint=hint, target="pip")
