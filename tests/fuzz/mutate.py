"""Inputs for fuzzing: a corpus, and seeded damage to it. Seed and number make an input."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

CORPUS: Final = Path(__file__).with_name("corpus")
FIRST: Final = int(os.environ.get("HEADRACE_FUZZ_FIRST", "0"))
"""The number of the first input, so that a long run can be done in pieces."""
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

Make = Callable[[random.Random], bytes]


def corpus(name: str) -> list[bytes]:
    """The kept files of a target, those that broke it once among them."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


def numbered(
    base: Sequence[bytes], make: Make | None = None, *, first: int = FIRST, count: int = INPUTS
) -> Iterator[tuple[int, bytes]]:
    """The base as it is, then damaged copies of it, or of what `make` made for every second."""
    for number in range(first, first + count):
        if number < len(base):
            yield number, base[number]
            continue
        rng = random.Random(SEED << 40 | number)
        if make is None or number % 2:
            yield number, damaged(rng.choice(base), rng, base)
            continue
        data = make(rng)
        yield number, data if rng.random() < 0.7 else damaged(data, rng, base)


def hold(
    base: Sequence[bytes],
    act: Callable[[bytes], object],
    refused: type[Exception] | tuple[type[Exception], ...],
    make: Make | None = None,
) -> None:
    """Every input is taken or refused by name; anything else fails, and says with which input."""
    for number, data in numbered(base, make):
        try:
            act(data)
        except refused:
            continue
        except BaseException as error:
            error.add_note(f"input {number} of seed {SEED}: {data[:2000]!r}")
            raise


def damaged(one: bytes, rng: random.Random, base: Sequence[bytes]) -> bytes:
    data = bytearray(one)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        _damage(data, rng, base)
    return bytes(data[:MAX_BYTES])


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
            data[at:at] = bytes(data[at:until]) * rng.choice((1, 2, 2, 2, 50, 50, 50, 1000))
        case 4:
            data[at:at] = rng.choice(_ODD) * rng.choice((2, 300))
        case 5:
            other = rng.choice(base)
            data[at:] = other[rng.randrange(len(other) + 1) :]
        case _ if at < len(data):
            data[at] ^= 1 << rng.randrange(8)
