"""NATS keys: Ed25519 keys in the base32 text that servers, JWTs and credentials files carry."""

from __future__ import annotations

import base64
import binascii
from enum import IntEnum
from typing import Final, Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from headrace_api.errors import InvalidInput

_SEED: Final = 18 << 3  # first letter 'S'
_SEED_BYTES: Final = 32
_CRC_BYTES: Final = 2


class KeyKind(IntEnum):
    """The prefix byte; it makes the first letter of the public key O, A or U."""

    OPERATOR = 14 << 3
    ACCOUNT = 0
    USER = 20 << 3


class KeyPair:
    """A private key and what it is for."""

    __slots__ = ("_private", "kind", "public")

    def __init__(self, kind: KeyKind, private: Ed25519PrivateKey) -> None:
        self.kind = kind
        self._private = private
        raw = private.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )
        self.public: Final = _encode(bytes([kind]) + raw)
        """The public key as text, for example `AB3K...`."""

    @classmethod
    def create(cls, kind: KeyKind) -> Self:
        return cls(kind, Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: str) -> Self:
        """Raises InvalidInput on text that is no seed; the text itself is never repeated."""
        raw = _decode(seed.strip())
        if len(raw) != _SEED_BYTES + 2 or raw[0] & 0xF8 != _SEED:
            raise InvalidInput("this is not a NATS seed", target="seed")
        try:
            # Two prefix bytes hold 'S' in five bits, then the eight bits of the kind.
            kind = KeyKind((raw[0] & 7) << 5 | raw[1] >> 3)
        except ValueError:
            raise InvalidInput("this NATS seed is of an unknown kind", target="seed") from None
        return cls(kind, Ed25519PrivateKey.from_private_bytes(raw[2:]))

    @property
    def seed(self) -> str:
        """The private key as text: a secret, for files of mode 0600 only."""
        raw = self._private.private_bytes(
            serialization.Encoding.Raw,
            serialization.PrivateFormat.Raw,
            serialization.NoEncryption(),
        )
        return _encode(bytes([_SEED | self.kind >> 5, (self.kind & 31) << 3]) + raw)

    def sign(self, data: bytes) -> bytes:
        return self._private.sign(data)

    def __repr__(self) -> str:
        return f"KeyPair({self.public})"


def _encode(raw: bytes) -> str:
    return base64.b32encode(raw + _crc16(raw).to_bytes(_CRC_BYTES, "little")).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    try:
        data = base64.b32decode(text + "=" * (-len(text) % 8))
    except (binascii.Error, ValueError):
        raise InvalidInput("this is not a NATS key", target="seed") from None
    raw, crc = data[:-_CRC_BYTES], data[-_CRC_BYTES:]
    if _crc16(raw).to_bytes(_CRC_BYTES, "little") != crc:
        raise InvalidInput(
            "this NATS key has a typing error: its check sum is wrong", target="seed"
        )
    return raw


def _crc16(data: bytes) -> int:
    """CRC-16/XMODEM, which the standard library offers under another name."""
    return binascii.crc_hqx(data, 0)
