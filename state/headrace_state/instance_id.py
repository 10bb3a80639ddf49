"""Ids of instances: short, and never the same twice in practice."""

from __future__ import annotations

import secrets
from typing import Final

OURS: Final = "i"
ATTACHED: Final = "a"  # tells an instance that somebody started by hand from one of ours
_ALPHABET: Final = "abcdefghijkmnpqrstuvwxyz23456789"
_RANDOM_CHARS: Final = 9  # 45 bits


def new_iid(prefix: str = OURS) -> str:
    """A lower-case token that begins with `prefix`, a letter, and hardly ever comes twice."""
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARS))
