"""What a deployment asks of a host that the host does not have. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from headrace_api.instance_types import KNOWN

INSTANCES_PER_CPU: Final = 4
_KNOWN: Final = frozenset(one.name.lower() for one in KNOWN)
_GPU: Final = re.compile(r"standard_n[cdgv]", re.IGNORECASE)  # families NC, ND, NG, NV


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What instances share."""

    cpus: int
    gpus: int


def capacity_warnings(host: Host, *, instance_type: str, instance_count: int) -> tuple[str, ...]:
    """One line each."""
    found = (_of_type(host, instance_type), _of_count(host, instance_count))
    return tuple(line for line in found if line)


def _of_type(host: Host, name: str) -> str:
    shares = f"an instance is a process that shares the host's {_cpus(host)}"
    if _GPU.match(name):
        if host.gpus:
            return ""
        return f"instance_type is {name[:80]!r}: it has a GPU and this host has none; {shares}"
    if name.lower() in _KNOWN:
        return ""
    return f"instance_type is {name[:80]!r}: not a size that is known here; {shares}"


def _of_count(host: Host, count: int) -> str:
    if count <= INSTANCES_PER_CPU * host.cpus:
        return ""
    return (
        f"instance_count is {count}: this host has {_cpus(host)}, so {count / host.cpus:.0f} "
        "instances share each, with a process and a copy of the model apiece; "
        f"{host.cpus} to {INSTANCES_PER_CPU * host.cpus} are of use"
    )


def _cpus(host: Host) -> str:
    return f"{host.cpus} CPU" + "s" * (host.cpus != 1)
