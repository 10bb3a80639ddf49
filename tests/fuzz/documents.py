"""YAML that is well formed and wrong: good documents with one or two odd values in them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from headrace_api.errors import InvalidInput
from headrace_api.yaml_file import parse_yaml

Place = tuple[Any, Any]
"""A container, and the key or index in it."""

_SCALARS: Final = (
    *("", "~", "null", "true", "-1", "0", "1e999", "-.inf", ".nan", "0x7fffffffffffffffff"),
    *("9" * 400, "1" + "0" * 4400, "0b101", "0o17", "1_000", "190:20:30", "1.5e-400"),
    *("2026-01-01", "2026-13-45", "2026-02-30T25:61:61Z", "0001-01-01T00:00:00+23:59", "="),
    *("!!binary aGk=", "!!binary '*'", "!!timestamp x", "!!int ''", "!!float '1_e'", "!!bool 2"),
    *(
        "!!set {a}",
        "!!omap [a: 1]",
        "!!pairs [a: 1]",
        "!!python/name:os.system",
        "!local x",
        "!!str",
    ),
    *("'\\0'", '"\\x00"', '"\\ud800"', '"\\U00110000"', '"\\u202e"', "'" + "x" * 9_000 + "'"),
    *("../../etc/passwd", "~root/x", "~nobodyknows/x", "/proc/self/environ", "file:///etc/passwd"),
    *(
        "/dev/zero",
        "/dev/full",
        "." * 300,
        "a/" * 3000,
        "azureml:" * 50,
        "azureml:a:1",
        "azureml:a@",
    ),
    *(
        "azureml://datastores/x/paths/../../y",
        "/subscriptions/a/b",
        "-r /etc/passwd",
        "git+ssh://x",
    ),
    *("PT1H", "P9999999999999Y", "PT", "-P1D", "1:2:3", "100%", "${{inputs.x}}", "%(x)s", "{0}"),
)
_WHOLE: Final = (
    lambda rng: "[" * _many(rng, 50, 5_000),
    lambda rng: (n := _many(rng, 45, 400)) * "[" + n * "]",
    lambda rng: (n := _many(rng, 45, 400)) * "{a: " + "1" + n * "}",
    lambda rng: "[" + "x, " * _many(rng, 10, 5_000) + "x]",
    lambda rng: "{" + ", ".join(f"k{n}: {n}" for n in range(_many(rng, 10, 2_000))) + "}",
    lambda rng: "'" + "x" * _many(rng, 100, 300_000) + "'",
    lambda rng: _laughs(rng.randrange(2, 10), rng.choice((2, 9)) if rng.random() < 0.1 else 2),
    lambda rng: "&x {a: *x}",
    lambda rng: "&x [*x]",
    lambda rng: "{<<: &m {a: 1}, b: *m}",
    lambda rng: "{<<: [1, 2]}",
    lambda rng: "{<<: &c {<<: *c}}",
    lambda rng: "{? [a, b] : 1}",
    lambda rng: "{? {a: 1} : 1}",
    lambda rng: "{1: 2, null: 3, true: 4}",
    lambda rng: "{a: 1, a: 2}",
)


def maker(base: Sequence[bytes]) -> Callable[[random.Random], bytes]:
    """What makes documents from these; those that are no mapping are left out."""
    good = [one for data in base if isinstance(one := _parsed(data), dict)]
    names = sorted({str(key) for one in good for key in _names(one)})

    def make(rng: random.Random) -> bytes:
        return _odd(json.loads(json.dumps(rng.choice(good), default=str)), rng, names)

    return make


def _parsed(data: bytes) -> Any:
    try:
        return parse_yaml(data).values if b"&" not in data else None
    except InvalidInput:
        return None


def _odd(document: dict[str, Any], rng: random.Random, names: Sequence[str]) -> bytes:
    fill: dict[str, str] = {}
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places = [(document, rng.choice(names)), *_places(document)]
        container, key = rng.choice(places)
        mark = f"@{len(fill)}@"
        fill[mark] = _value(rng)
        if rng.random() < 0.1:
            container[mark if isinstance(container, dict) else key] = 1
        else:
            container[key] = mark
    text = json.dumps(document)
    for mark, value in fill.items():
        text = text.replace(f'"{mark}"', value)
    return text.encode("utf-8", "surrogatepass")


def _value(rng: random.Random) -> str:
    if rng.random() < 0.3:
        return rng.choice(_WHOLE)(rng)
    return rng.choice(_SCALARS)


def _many(rng: random.Random, few: int, most: int) -> int:
    """Mostly few: what is large takes long to read, and one in fifty shows as much."""
    return most if rng.random() < 0.02 else rng.randrange(few) + 1


def _laughs(levels: int, wide: int) -> str:
    """Aliases of aliases: few characters, `wide ** levels` values."""
    parts = ["&a0 [x]"]
    parts += [f"&a{n} [{', '.join([f'*a{n - 1}'] * wide)}]" for n in range(1, levels)]
    return f"[{', '.join(parts)}]"


def _places(value: Any) -> Iterator[Place]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(pairs):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list):
            yield from _names(inner)
