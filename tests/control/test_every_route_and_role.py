"""Every route control serves, for every role: none is let in by a route added without a word.

The routes are those control tells of itself, so one that is added tomorrow is walked too.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headrace_services.control.arm.request import path_segments
from headrace_state.roles import Role, RoleAssignment, allowed, asked
from support.control import ControlClient

METHODS = ("get", "put", "patch", "post", "delete")
ANYBODYS = {
    "GET /tenants",
    "GET /subscriptions",
    "GET /subscriptions/{subscription}",
    "GET /subscriptions/{subscription}/resourceGroups",
    "GET /subscriptions/{subscription}/resourceGroups/{group}",
    "GET .../workspaces",
    "GET .../workspaces/{workspace}",
    "GET .../locations/{location}/mfeOperationsStatus/{operation}",
    "GET .../locations/{location}/mfeOperationResults/{operation}",
}
SCORERS = ANYBODYS | {"POST .../workspaces/{workspace}/onlineEndpoints/{endpoint}/token"}
READS_BY_POST = {
    "POST .../workspaces/{workspace}/onlineEndpoints/{endpoint}/deployments/{deployment}/getLogs"
}
OWNERS_ALONE = ("/clients", "/issuers", "/events")


async def protected(control: ControlClient) -> list[tuple[str, str]]:
    """Method and template of each route behind a token."""
    document = (await control.get("//openapi.json")).json

    def routes() -> Iterator[tuple[str, str]]:
        for template, path in document["paths"].items():
            for method in METHODS:
                if method in path and {"bearer": []} in path[method].get("security", []):
                    yield method.upper(), template

    return list(routes())


def short(method: str, template: str) -> str:
    head, _, rest = template.partition("/providers/Microsoft.MachineLearningServices/")
    return f"{method} .../{rest}" if rest else f"{method} {head}"


@pytest.mark.parametrize("role", list(Role))
async def test_a_role_may_do_what_its_table_says_and_nothing_else(
    control: ControlClient, role: Role
) -> None:
    routes = await protected(control)
    assignment = [RoleAssignment(role=role)]
    may = set()
    for method, template in routes:
        wanted = asked(method, path_segments(template))
        if allowed(assignment, wanted.action, wanted.endpoint):
            may.add(short(method, template))

    every = {short(*route) for route in routes}
    shared = {one for one in every if not one.split("{workspace}")[-1].startswith(OWNERS_ALONE)}
    reads = {one for one in shared if one.startswith("GET ")} | READS_BY_POST
    assert (
        may
        == {
            Role.OWNER: every,
            Role.CONTRIBUTOR: shared,
            Role.READER: reads | ANYBODYS,
            Role.SCORER: SCORERS & every,
        }[role]
    )
    assert len(every) > 60
