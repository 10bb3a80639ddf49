"""What the wire asks of a region: its sizes of machines, and the use of its quota."""

from __future__ import annotations

from headrace_api import instance_types
from headrace_services.control.arm.request import Answer, Call


async def sizes(call: Call) -> Answer:
    """The sizes that are known by name; a deployment or compute may name any other."""
    found = [
        {
            "name": one.name,
            "family": one.family,
            "vCPUs": one.vcpus,
            "gpus": 0,
            "memoryGB": one.memory_gib,
            "lowPriorityCapable": False,
            "premiumIO": False,
            "supportedComputeTypes": ["AmlCompute"],
        }
        for one in instance_types.KNOWN
    ]
    # Never in pages: the SDK's model of this list knows no link to a next one.
    return Answer(body={"value": found})


async def usages(call: Call) -> Answer:
    """Empty: no quota is kept, so nothing is used of one."""
    return Answer(body={"value": [], "nextLink": None})
