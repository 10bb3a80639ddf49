"""Who may use the routes that Azure has not: table of role by route, on workspace and endpoint."""

from __future__ import annotations

import pytest

from headrace_state.roles import Role, RoleAssignment, allowed, asked
from support.control import WORKSPACE, ControlClient
from support.identity import as_bearer, fetch_token, make_client

EP = "/onlineEndpoints/houses"
OWNERS = {Role.OWNER}
WRITERS = {Role.OWNER, Role.CONTRIBUTOR}
READERS = {*WRITERS, Role.READER}
TABLE = [
    ("POST", "/collectGarbage", WRITERS, False),
    ("POST", f"{EP}/deployments/blue/attach", WRITERS, True),
    ("GET", "/audit", READERS, False),
    ("GET", "/events", OWNERS, False),
    ("GET", "/clients", OWNERS, False),
    ("GET", "/clients/x", OWNERS, False),
    ("PUT", "/clients/x", OWNERS, False),
    ("DELETE", "/clients/x", OWNERS, False),
    ("GET", "/issuers", OWNERS, False),
    ("GET", "/issuers/x", OWNERS, False),
    ("PUT", "/issuers/x", OWNERS, False),
    ("DELETE", "/issuers/x", OWNERS, False),
]


@pytest.mark.parametrize(("method", "below", "roles", "on_endpoint"), TABLE)
def test_who_may_use_a_route_of_our_own(
    method: str, below: str, roles: set[Role], on_endpoint: bool
) -> None:
    """A role on one endpoint reaches that endpoint's routes, and none of the workspace's."""
    for path in (WORKSPACE + below, (WORKSPACE + below).upper()):
        wanted = asked(method, path[1:].split("/"))
        for role in Role:
            everywhere = [RoleAssignment(role=role)]
            here = [RoleAssignment(role=role, endpoint="houses")]
            there = [RoleAssignment(role=role, endpoint="flats")]
            may = role in roles
            assert allowed(everywhere, wanted.action, wanted.endpoint) == may, (path, role)
            assert allowed(here, wanted.action, wanted.endpoint) == (may and on_endpoint)
            assert not allowed(there, wanted.action, wanted.endpoint)


@pytest.mark.parametrize("role", ["reader", "scorer", "contributor"])
async def test_garbage_is_collected_for_writers_alone(control: ControlClient, role: str) -> None:
    token = await fetch_token(control, await make_client(control, role))

    answer = await as_bearer(control, token, "POST", "/collectGarbage", {})

    assert answer.status == (200 if role == "contributor" else 403), answer.data
    if role != "contributor":
        assert "collectGarbage/action" in answer.json["error"]["message"]
