"""What endpoints, deployments and assets may be called, and how a name becomes a key."""

from __future__ import annotations

import re
from typing import Final

from headrace_api.errors import InvalidInput

ENDPOINT_NAME: Final = re.compile(r"[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?")
ENDPOINT_NAME_LENGTH: Final = range(3, 33)  # characters, azure_behaviour.md 1.1
ASSET_NAME: Final = re.compile(r"[a-zA-Z0-9][-_.a-zA-Z0-9]*")
ASSET_NAME_MAX: Final = 255  # characters
_PLAIN: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


def check_endpoint_name(name: str, *, kind: str = "endpoint") -> str:
    """Return the name in lower case, as subjects and keys carry it.

    Raises InvalidInput when it breaks the rule of azure_behaviour.md 1.1.
    """
    if len(name) in ENDPOINT_NAME_LENGTH and ENDPOINT_NAME.fullmatch(name):
        return name.lower()
    raise InvalidInput(
        f"{kind} name {name!r} is not allowed: use 3 to 32 letters, digits and '-', "
        "begin with a letter and do not end with '-'",
        target="name",
    )


def check_asset_name(name: str, *, kind: str) -> str:
    """Return the name unchanged. Raises InvalidInput when no asset or version may bear it."""
    if len(name) <= ASSET_NAME_MAX and ASSET_NAME.fullmatch(name):
        return name
    raise InvalidInput(
        f"{kind} {name!r} is not allowed: use letters, digits, '-', '_' and '.', "
        f"begin with a letter or digit, at most {ASSET_NAME_MAX} characters",
        target="name",
    )


def token(name: str) -> str:
    """Encode any text as one token of a subject or key: `=XX` for each byte that is not plain.

    The result holds letters, digits, `-`, `_` and `=` only, so dots never split it.
    """
    return "".join(chr(b) if b in _PLAIN else f"={b:02X}" for b in name.encode())


def untoken(encoded: str) -> str:
    """Give back what `token` encoded. Raises InvalidInput on text that `token` cannot have made."""
    try:
        return re.sub(
            rb"=([0-9A-F]{2})", lambda m: bytes.fromhex(m[1].decode()), encoded.encode()
        ).decode()
    except (ValueError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{encoded!r} is not an encoded name", target="name") from error
