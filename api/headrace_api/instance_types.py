"""Instance types whose size is known (azure_behaviour.md 7.4). Any other name is taken too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceType:
    """The size that a name stands for; what an instance gets is the host's."""

    name: str
    family: str
    vcpus: int
    memory_gib: float


def _of(family: str, memory_gib_per_vcpu: float, sizes: dict[str, int]) -> list[InstanceType]:
    return [
        InstanceType(name=name, family=family, vcpus=n, memory_gib=n * memory_gib_per_vcpu)
        for name, n in sizes.items()
    ]


KNOWN: Final = (
    *_of("standardDSv2Family", 3.5, {f"Standard_DS{n}_v2": 2 ** (n - 1) for n in range(1, 6)}),
    *_of(
        "standardFSv2Family", 2.0, {f"Standard_F{n}s_v2": n for n in (2, 4, 8, 16, 32, 48, 64, 72)}
    ),
)
"""Smallest first within a family."""
