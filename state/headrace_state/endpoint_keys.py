"""Endpoints' keys: two random ones each, encrypted at rest, shown on request, known by digest."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from headrace_api.errors import InvalidInput
from headrace_api.record import load_json
from headrace_bus.store.bucket import Bucket, Record
from headrace_bus.store.secrets import SecretStore

KEY_BYTES: Final = 32
_KEYS: Final = "keys"
GIVEN_KEY_CHARS: Final = range(16, 513)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """Both keys are valid at once; one is replaced at a time."""

    primary: str
    secondary: str

    def digests(self) -> tuple[str, str]:
        """SHA-256 in hex, as `Route.key_digests` carries them."""
        return key_digest(self.primary), key_digest(self.secondary)


def key_digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def new_key() -> str:
    return secrets.token_urlsafe(KEY_BYTES)


def new_pair() -> KeyPair:
    return KeyPair(primary=new_key(), secondary=new_key())


def key_type_of(body: Mapping[str, Any]) -> str:
    """`primary` or `secondary`, primary when absent; `keyValue` is ignored (azure_rest.md 6.3).

    Raises InvalidInput.
    """
    given = body.get("keyType", "Primary")
    kind = given.lower() if isinstance(given, str) else ""
    if kind in ("primary", "secondary"):
        return kind
    raise InvalidInput(f"keyType is {given!r}: use Primary or Secondary", target="keyType")


def given_keys(properties: Mapping[str, Any]) -> KeyPair | None:
    """The keys a caller brings when the endpoint is created. Raises InvalidInput."""
    block = properties.get("keys")
    if block is None:
        return None
    if not isinstance(block, Mapping):
        raise InvalidInput("'keys' must be an object", target="properties.keys")
    found = [block.get(name) or new_key() for name in ("primaryKey", "secondaryKey")]
    for key in found:
        if not isinstance(key, str) or len(key) not in GIVEN_KEY_CHARS or not key.isprintable():
            raise InvalidInput(
                f"a key must be text of {GIVEN_KEY_CHARS.start} to {GIVEN_KEY_CHARS.stop - 1} "
                "printable characters",
                target="properties.keys",
            )
    return KeyPair(primary=found[0], secondary=found[1])


class EndpointKeys:
    """The keys of all endpoints, by lower-case name.

    Keys change together with a spec, which lies in another bucket: they are staged under the
    operation that the spec will carry, and come into force when it does. A write that lost leaves
    the keys as they were; one that was killed half way is completed by whoever reads next.
    """

    def __init__(self, store: SecretStore) -> None:
        self._store = store

    @property
    def bucket(self) -> Bucket:
        """Where they lie, encrypted."""
        return self._store.bucket

    async def read(self, endpoint: str) -> KeyPair | None:
        """None when the endpoint has none yet."""
        return _pair(await self._store.get(keys_key(endpoint)))

    async def read_or_create(self, endpoint: str) -> KeyPair:
        """For an endpoint that came to keys by an update."""
        pair = await self.read(endpoint)
        if pair is None:
            pair = new_pair()
            await self._write(endpoint, pair)
        return pair

    async def digests(self, endpoint: str) -> tuple[str, ...]:
        """What the route carries; empty when the endpoint has no keys."""
        return _digests(await self.read(endpoint))

    def digests_of(self, record: Record | None) -> tuple[str, ...]:
        """As `digests`, of the record at `keys_key` as a copy of the bucket has it.

        Raises SecretUnreadable.
        """
        return _digests(_pair(None if record is None else self._store.opened(record)))

    async def regenerated(self, endpoint: str, kind: str) -> KeyPair:
        """The pair with one key (`primary` or `secondary`) anew; nothing is changed yet."""
        return replace(await self.read_or_create(endpoint), **{kind: new_key()})

    async def stage(self, endpoint: str, operation: str, pair: KeyPair) -> None:
        """Keep the keys that come into force with an operation, if it does."""
        await self._write(endpoint, pair, operation)

    async def unstage(self, endpoint: str, operation: str) -> None:
        """Forget the keys of an operation that came to nothing."""
        await self._store.delete(keys_key(endpoint, operation))

    async def adopt(self, endpoint: str, operation: str) -> None:
        """Bring into force what was staged for an operation, once its spec is stored."""
        if operation:
            await self._store.move(keys_key(endpoint, operation), keys_key(endpoint))

    async def drop_staged(self, is_due: Callable[[str, str], Awaitable[bool]]) -> int:
        """Forget the keys of writes that were killed before their spec was stored; how many.

        `is_due(endpoint, operation)` says whether that write may still come into force.
        """
        gone = 0
        for name in await self._store.below(_KEYS):
            _, endpoint, operation = [*name.split("."), ""][:3]
            if operation and not await is_due(endpoint, operation):
                await self._store.delete(name)
                gone += 1
        return gone

    async def forget(self, endpoint: str) -> None:
        """Remove the keys of an endpoint that is gone, staged ones too."""
        for name in (keys_key(endpoint), *await self._store.below(keys_key(endpoint))):
            await self._store.delete(name)

    async def _write(self, endpoint: str, pair: KeyPair, operation: str = "") -> None:
        await self._store.put(keys_key(endpoint, operation), json.dumps(asdict(pair)).encode())


def _pair(data: bytes | None) -> KeyPair | None:
    return None if data is None else load_json(KeyPair, data)


def _digests(pair: KeyPair | None) -> tuple[str, ...]:
    return pair.digests() if pair else ()


def keys_key(endpoint: str, operation: str = "") -> str:
    """Key of an endpoint's keys, or of those that come into force with an operation."""
    return f"{_KEYS}.{endpoint}.{operation}" if operation else f"{_KEYS}.{endpoint}"
