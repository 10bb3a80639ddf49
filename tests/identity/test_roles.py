"""What each role allows, as a table and as rules that hold for every path."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_api.errors import Forbidden
from headrace_state.roles import Asked, Role, RoleAssignment, allowed, asked, require
from support.control import WORKSPACE

BASE = "Microsoft.MachineLearningServices/workspaces"
EP = f"{WORKSPACE}/onlineEndpoints/Houses"
GROUP = WORKSPACE.partition("/providers")[0]
VAULTS = "Microsoft.KeyVault/vaults"
ASSIGNMENTS = "Microsoft.Authorization/roleAssignments"
EVERY = frozenset(Role)
WRITERS = {Role.OWNER, Role.CONTRIBUTOR}
READERS = {*WRITERS, Role.READER}
TABLE = [
    ("GET", WORKSPACE, f"{BASE}/read", "", EVERY),
    ("GET", "/subscriptions", "Microsoft.Resources/subscriptions/read", "", EVERY),
    ("GET", f"{WORKSPACE}/onlineEndpoints", f"{BASE}/onlineEndpoints/read", "", READERS),
    ("GET", EP, f"{BASE}/onlineEndpoints/read", "houses", READERS),
    ("PUT", EP, f"{BASE}/onlineEndpoints/write", "houses", WRITERS),
    ("PATCH", EP, f"{BASE}/onlineEndpoints/write", "houses", WRITERS),
    ("DELETE", EP, f"{BASE}/onlineEndpoints/delete", "houses", WRITERS),
    ("POST", f"{EP}/listKeys", f"{BASE}/onlineEndpoints/listKeys/action", "houses", WRITERS),
    (
        "POST",
        f"{EP}/token",
        f"{BASE}/onlineEndpoints/token/action",
        "houses",
        {*WRITERS, Role.SCORER},
    ),
    (
        "PUT",
        f"{EP}/deployments/blue",
        f"{BASE}/onlineEndpoints/deployments/write",
        "houses",
        WRITERS,
    ),
    (
        "POST",
        f"{EP}/deployments/blue/getLogs",
        f"{BASE}/onlineEndpoints/deployments/getLogs/action",
        "houses",
        READERS,
    ),
    ("PUT", f"{WORKSPACE}/models/m/versions/1", f"{BASE}/models/versions/write", "", WRITERS),
    (
        "POST",
        f"{WORKSPACE}/datastores/d/listSecrets",
        f"{BASE}/datastores/listSecrets/action",
        "",
        WRITERS,
    ),
    ("PUT", f"{WORKSPACE}/clients/x", f"{BASE}/clients/write", "", {Role.OWNER}),
    ("GET", f"{WORKSPACE}/clients", f"{BASE}/clients/read", "", {Role.OWNER}),
    ("DELETE", f"{WORKSPACE}/issuers/x", f"{BASE}/issuers/delete", "", {Role.OWNER}),
    ("GET", f"{GROUP}/providers/Microsoft.KeyVault/vaults", f"{VAULTS}/read", "", READERS),
    ("GET", f"{GROUP}/providers/Microsoft.KeyVault/vaults/v", f"{VAULTS}/read", "", READERS),
    ("PUT", f"{GROUP}/providers/Microsoft.KeyVault/vaults/v", f"{VAULTS}/write", "", WRITERS),
    ("GET", f"{EP}/providers/{ASSIGNMENTS}", f"{ASSIGNMENTS}/read", "", READERS),
    ("GET", "/subscriptions/s/providers", "Microsoft.Resources/subscriptions/read", "", EVERY),
]
names = st.sampled_from(["onlineEndpoints", "clients", "score", "models", "read", "x", "token"])
assignments = st.builds(
    RoleAssignment, role=st.sampled_from(Role), endpoint=st.sampled_from(["", "houses", "flats"])
)


@pytest.mark.parametrize(("method", "path", "action", "endpoint", "roles"), TABLE)
def test_the_action_of_a_request_and_who_may_do_it(
    method: str, path: str, action: str, endpoint: str, roles: set[Role]
) -> None:
    wanted = asked(method, path[1:].split("/"))
    assert wanted == Asked(action=action, endpoint=endpoint)
    for role in Role:
        mine = [RoleAssignment(role=role)]
        assert allowed(mine, wanted.action, wanted.endpoint) == (role in roles), role


@given(st.lists(names, max_size=6), st.sampled_from(["PUT", "PATCH", "DELETE", "POST"]))
def test_a_reader_changes_nothing_whatever_the_path(below: list[str], method: str) -> None:
    wanted = asked(method, [*WORKSPACE[1:].split("/"), *below])
    assert not allowed([RoleAssignment(role=Role.READER)], wanted.action, wanted.endpoint)


@given(st.lists(assignments, max_size=3), names, st.sampled_from(["", "houses", "flats"]))
def test_more_roles_never_allow_less_and_none_allow_nothing(
    mine: list[RoleAssignment], kind: str, endpoint: str
) -> None:
    action = f"{BASE}/{kind}/write"
    assert not allowed([], action, endpoint)
    if allowed(mine, action, endpoint):
        assert allowed([*mine, RoleAssignment(role=Role.READER)], action, endpoint)
    assert allowed(mine, action, endpoint) == allowed(mine, action.upper(), endpoint.upper())


def test_a_role_on_one_endpoint_reaches_that_endpoint_only() -> None:
    mine = [RoleAssignment(role=Role.OWNER, endpoint="houses")]
    assert allowed(mine, f"{BASE}/onlineEndpoints/write", "houses")
    assert not allowed(mine, f"{BASE}/onlineEndpoints/write", "flats")
    assert not allowed(mine, f"{BASE}/clients/write", "")


def test_a_refusal_names_the_action_and_the_role() -> None:
    with pytest.raises(Forbidden, match=r"reader on the workspace.*onlineEndpoints/write"):
        require([RoleAssignment(role=Role.READER)], asked("PUT", EP[1:].split("/")))
