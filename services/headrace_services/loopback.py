"""Whether a request to a loopback port named this host.

Any page in the user's browser can reach loopback, under a name that it made point there (DNS
rebinding). A page that needs no credential is answered to who asks for this host alone.
"""

from __future__ import annotations

from typing import Final

HOSTS: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
REFUSED: Final = "this port answers to 127.0.0.1 and localhost only\n"


def names_this_host(header: str) -> bool:
    """By the value of `Host`, with or without a port."""
    name, colon, port = header.strip().lower().rpartition(":")
    return (name if colon and port.isdecimal() else header.strip().lower()) in HOSTS
