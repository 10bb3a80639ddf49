"""Secrets at rest: AES-GCM under a key that lies beside the home, values bound to their names."""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from headrace_api.errors import InvalidInput
from headrace_api.private_files import write_private_once
from headrace_bus.errors import BusError, RevisionConflict
from headrace_bus.store.bucket import Bucket, Record

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_VERSION: Final = b"\x01"
_ATTEMPTS: Final = 8


class SecretUnreadable(BusError):
    """The value was not encrypted with this key and under this name."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"secret {name!r} cannot be decrypted: another key wrote it, or it was changed",
            hint="restore secret.key of this home, or set the secret again",
            target=name,
        )


def secret_key(path: Path) -> bytes:
    """Read the key file (`<home>/secret.key`), made on first use with mode 0600.

    Raises InvalidInput when the file is damaged.
    """
    if not path.exists():
        write_private_once(path, base64.b64encode(os.urandom(KEY_BYTES)).decode() + "\n")
    try:
        key = base64.b64decode(path.read_text().strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise InvalidInput(f"{path} is not a base64 key of {KEY_BYTES} bytes", target=str(path))
    return key


class SecretStore:
    """Names are keys of the bucket; only control may read it."""

    def __init__(self, bucket: Bucket, key: bytes) -> None:
        self.bucket: Final = bucket
        self._cipher = AESGCM(key)

    async def put(self, name: str, value: bytes) -> int:
        """Write or replace a secret, and return its revision.

        Raises InvalidInput for what no key may be, RevisionConflict when others write it all the
        time, BusDisconnected.
        """
        sealed = self._seal(name, value)
        conflict: RevisionConflict | None = None
        for _ in range(_ATTEMPTS):
            found = await self.bucket.get(name)
            try:
                if found is None:
                    return await self.bucket.create(name, sealed)
                return await self.bucket.update(name, sealed, found.revision)
            except RevisionConflict as error:
                conflict = error
        raise conflict or RevisionConflict(name, 0)

    async def get(self, name: str) -> bytes | None:
        """Raises SecretUnreadable, InvalidInput, BusDisconnected."""
        found = await self.bucket.get(name)
        return None if found is None else self.opened(found)

    def opened(self, record: Record) -> bytes:
        """The secret of a record of this bucket. Raises SecretUnreadable."""
        return self._unseal(record.key, record.value)

    async def move(self, source: str, target: str) -> None:
        """Put the secret `source` in place of `target`; what is not there, or was moved, stays.

        Killed half way it may be done again: whoever comes late changes nothing that is newer.
        Raises as `put` and `get` do.
        """
        for _ in range(_ATTEMPTS):
            before = await self.bucket.get(target)
            found = await self.bucket.get(source)
            if found is None:
                return
            sealed = self._seal(target, self._unseal(source, found.value))
            with contextlib.suppress(RevisionConflict):
                if before is None:
                    await self.bucket.create(target, sealed)
                else:
                    await self.bucket.update(target, sealed, before.revision)
                await self.bucket.delete(source, found.revision)
                return

    async def below(self, prefix: str) -> list[str]:
        """Names of the secrets below a prefix of whole tokens."""
        return sorted(await self.bucket.list(prefix))

    async def delete(self, name: str) -> None:
        """Forget it; what is not there is no error. Raises as `put` does."""
        for _ in range(_ATTEMPTS):
            found = await self.bucket.get(name)
            if found is None:
                return
            try:
                await self.bucket.delete(name, found.revision)
            except RevisionConflict:
                continue

    def _seal(self, name: str, value: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        # The name is authenticated too, so that nobody can move a value under another name.
        return _VERSION + nonce + self._cipher.encrypt(nonce, value, name.encode())

    def _unseal(self, name: str, sealed: bytes) -> bytes:
        version, nonce = sealed[:1], sealed[1 : 1 + _NONCE_BYTES]
        if version != _VERSION or len(nonce) != _NONCE_BYTES:
            raise SecretUnreadable(name)
        try:
            return self._cipher.decrypt(nonce, sealed[1 + _NONCE_BYTES :], name.encode())
        except InvalidTag:
            raise SecretUnreadable(name) from None
