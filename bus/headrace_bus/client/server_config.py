"""The embedded server's configuration: limits, rights and folders, as this release wants them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from headrace_api.home import Home
from headrace_api.private_files import write_private
from headrace_bus.client import jwt
from headrace_bus.client.identity import Identities

HOST: Final = "127.0.0.1"
_LIMIT: Final = "max_file_store: 1TB"
_OPERATOR: Final = re.compile(r"^operator: (\S+)$", re.MULTILINE)

# sync_interval: an acknowledged write is on disk within a second. A killed process loses nothing
# (the page cache stays); a power cut may lose that last second. "always" costs 20 times the writes.
# max_file_store: by default three quarters of what is free at the start. On a disk that is nearly
# full, streams that have been there for long would be refused.
# js_ack_fc_v2: true breaks ordered consumers of today's clients (nats.md 0, trap 6).
_CONFIG: Final = """\
listen: "{host}:{port}"
server_name: "headrace"
pid_file: "{folder}/nats.pid"
logfile: "{log}"
logfile_size_limit: 10MB
logfile_max_num: 3
max_payload: 8MB
ping_interval: "5s"
ping_max: 2
feature_flags {{ js_ack_fc_v2: false }}
jetstream {{
  store_dir: "{folder}/jetstream"
  sync_interval: "1s"
  {limit}
}}
operator: {operator}
system_account: {system}
resolver: MEMORY
resolver_preload: {{
{accounts}
}}
"""


def path(home: Home) -> Path:
    return home.nats / "nats.conf"


def log(home: Home) -> Path:
    return home.run / "nats.log"


def write(home: Home, port: int, identities: Identities, *, running: bool = False) -> None:
    """Write it whole, mode 0600.

    The operator's JWT stays as it was, and for a `running` server the room for its streams: it
    refuses a reload that changes either.
    """
    before = path(home).read_text() if path(home).exists() else ""
    kept = running and _LIMIT not in before
    accounts = identities.account_jwts().items()
    text = _CONFIG.format(
        host=HOST,
        port=port,
        folder=_quoted(home.nats),
        log=_quoted(log(home)),
        limit="" if kept else _LIMIT,
        operator=_kept_operator(before, identities) or identities.operator_jwt(),
        system=identities.system.public,
        accounts="\n".join(f"  {public}: {signed}" for public, signed in accounts),
    )
    write_private(path(home), text)


def _kept_operator(before: str, identities: Identities) -> str:
    """The JWT of an earlier configuration when it is our operator's, else empty."""
    found = _OPERATOR.search(before)
    if found is None or jwt.subject(found[1]) != identities.operator.public:
        return ""
    return found[1]


def _quoted(path: Path) -> str:
    """A path inside a double-quoted string of the configuration."""
    return str(path).replace("\\", "\\\\").replace('"', '\\"')
