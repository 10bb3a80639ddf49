"""A NATS user's credentials: the JWT and the key of a `.creds` file."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from headrace_api.errors import InvalidInput
from headrace_bus.client.nkeys import KeyPair

_JWT: Final = re.compile(r"-+BEGIN NATS USER JWT-+\s+([\w.-]+)\s+-+END NATS USER JWT-+", re.ASCII)
_SEED: Final = re.compile(r"-+BEGIN USER NKEY SEED-+\s+([A-Z2-7]+)\s+-+END USER NKEY SEED-+")
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_FILE: Final = """\
-----BEGIN NATS USER JWT-----
{jwt}
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
{seed}
------END USER NKEY SEED------
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who a connection is. Neither `repr` nor messages show the JWT or the seed."""

    jwt: str = field(repr=False)
    key: KeyPair

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises InvalidInput when the file is missing or is not a `.creds` file."""
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(
                f"cannot read NATS credentials {str(path)!r}: {type(error).__name__}"
            ) from error
        return cls.parse(text, where=str(path))

    @classmethod
    def parse(cls, text: str, *, where: str = "text") -> Self:
        """Raises InvalidInput; `where` names the source in its message."""
        jwt, seed = _JWT.search(text), _SEED.search(text)
        if jwt is None or seed is None:
            missing = "user JWT" if jwt is None else "seed"
            raise InvalidInput(f"NATS credentials {where!r} hold no {missing}")
        return cls(jwt=jwt.group(1), key=KeyPair.from_seed(seed.group(1)))

    def text(self) -> str:
        """What a `.creds` file holds: a secret, for files of mode 0600 only."""
        return _FILE.format(jwt=self.jwt, seed=self.key.seed)

    @property
    def name(self) -> str:
        """The name claim of the JWT; empty when there is none."""
        try:
            payload = self.jwt.split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            return str(claims.get("name", ""))
        except (IndexError, ValueError, AttributeError):
            return ""

    @property
    def inbox_prefix(self) -> str:
        """`_INBOX_<name>`, as identities are templated; `_INBOX` for a name that is no token."""
        return f"_INBOX_{self.name}" if _TOKEN.fullmatch(self.name) else "_INBOX"

    def sign(self, nonce: bytes) -> bytes:
        """The server's nonce signed with the user's key, 64 bytes."""
        return self.key.sign(nonce)
