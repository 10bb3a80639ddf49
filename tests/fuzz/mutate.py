"""Inputs for fuzzing: a corpus, and seeded damage to it. The same seed gives the same inputs."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

CORPUS: Final = Path(__file__).with_name("corpus")
INPUTS: Final = int(os.environ.get("HEADRACE_FUZZ_INPUTS", "2000"))
"""Each target's inputs in one run; 200,000 are run before a release."""
SEED: Final = int(os.environ.get("HEADRACE_FUZZ_SEED", "1"))
MAX_BYTES: Final = 64 * 1024
_ODD: Final = (
    *(b"\0", b"\r\n", b"\n", b"\r\n\r\n", b" ", b"\t", b":", b",", b";", b"\xff\xfe", b"\x80"),
    *(b"0", b"-1", b"18446744073709551616", b"1e999", b"NaN", b"%00", b"../../", b"\xe2\x80\xae"),
    *(b"{", b"[", b"}", b"]", b"&a", b"*a", b"<<: ", b"!!python/object:os.system ", b"- "),
    *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n"),
    *(b"\xc1", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x92\x93", b"\x81\xc0"),
)


def corpus(name: str) -> list[bytes]:
    """The kept files of a target, those that broke it once among them."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


def inputs(base: Sequence[bytes], *, count: int = INPUTS, seed: int = SEED) -> Iterator[bytes]:
    """The base as it is, then damaged copies of it until there are `count`."""
    rng = random.Random(seed)
    yield from base
    for _ in range(count - len(base)):
        data = bytearray(rng.choice(base))
        for _ in range(rng.choice((1, 1, 2, 3, 8))):
            _damage(data, rng, base)
        yield bytes(data[:MAX_BYTES])


def _damage(data: bytearray, rng: random.Random, base: Sequence[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    until = min(len(data), at + rng.choice((1, 1, 2, 4, 16, 64)))
    match rng.randrange(7):
        case 0:
            data[at:until] = rng.randbytes(until - at)
        case 1:
            del data[at:until]
        case 2:
            data[at:at] = rng.choice(_ODD)
        case 3:
            data[at:at] = bytes(data[at:until]) * rng.choice((1, 2, 50, 1000))
        case 4:
            data[at:at] = rng.choice(_ODD) * rng.choice((2, 300))
        case 5:
            other = rng.choice(base)
            data[at:] = other[rng.randrange(len(other) + 1) :]
        case _ if at < len(data):
            data[at] ^= 1 << rng.randrange(8)
