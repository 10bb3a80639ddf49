"""How one connection to NATS is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from headrace_api.errors import InvalidInput

_SCHEMES = ("nats", "tls")


@dataclass(frozen=True, slots=True, kw_only=True)
class BusSettings:
    """Raises InvalidInput for a URL that is not `nats://` or `tls://`."""

    url: str
    """One server, or several of a cluster with commas between them."""
    name: str
    """What the server's monitoring shows for this connection."""
    credentials: Path | None = None
    """A `.creds` file (user JWT and seed); read again at each reconnect, so it may be renewed."""
    inbox_prefix: str | None = None
    """None: `_INBOX_<user name>` with credentials (identities allow no other), else `_INBOX`."""
    connect_timeout_s: float = 10.0
    """Bound of the first connect over all servers; after it reconnects go on for ever."""
    dial_timeout_s: float = 2.0
    """Bound of each step of one attempt."""
    ping_interval_s: float = 10.0
    """A server that misses two pings is given up."""
    reconnect_wait_s: float = 0.25
    refused_grace_s: float = 30.0
    """Credentials refused for so long at reconnects close the connection for good."""
    pending_bytes: int = 64 * 1024 * 1024
    """What may wait to be sent, connected or not; room for a few of the largest messages."""
    ca_file: Path | None = None
    """Trust these authorities only, and insist on TLS."""
    tls_handshake_first: bool = False

    def __post_init__(self) -> None:
        for server in self.servers:
            parts = urlsplit(server)
            if parts.scheme not in _SCHEMES or not parts.hostname:
                raise InvalidInput(
                    f"NATS address of scheme {parts.scheme!r} and host {parts.hostname!r}; "
                    "nats://HOST:PORT or tls://HOST:PORT expected",
                    target="url",
                )

    @property
    def servers(self) -> list[str]:
        return [server.strip() for server in self.url.split(",")]

    @property
    def places(self) -> str:
        """Hosts and ports, without what a URL may carry of credentials."""
        return ", ".join(urlsplit(server).netloc.rpartition("@")[2] for server in self.servers)
