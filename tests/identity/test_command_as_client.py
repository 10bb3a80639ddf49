"""The command with a client's id and secret in its environment (docs/identity.md)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from headrace.credential import ClientCredential
from headrace.http_client import Http
from support.command import told
from support.control import ControlClient
from support.identity import TENANT, TestClient, make_client

MAKE = ("online-endpoint", "create", "-n", "houses", "--no-wait")
LIST = ("online-endpoint", "list")
OTHER_TENANT = "11111111-2222-4333-8444-555555555555"


def signed_in(client: TestClient, **more: str) -> dict[str, str]:
    return {
        "AZURE_CLIENT_ID": client.id,
        "AZURE_CLIENT_SECRET": client.secret,
        "AZURE_TENANT_ID": TENANT,
        **more,
    }


@pytest.mark.parametrize("tenant", [TENANT, "adfs"])
async def test_it_acts_as_the_client_and_not_as_the_admin_whose_token_is_there(
    control: ControlClient, tenant: str
) -> None:
    client = await make_client(control, "reader")
    environment = signed_in(client, AZURE_TENANT_ID=tenant)

    out, _ = await told(control, *LIST, environment=environment)
    _, err = await told(control, *MAKE, code=4, environment=environment)

    assert out.strip() == "[]"
    assert "onlineEndpoints/write" in err
    assert "reader" in err


async def test_a_machine_without_the_home_needs_address_ca_and_client(
    control: ControlClient, tmp_path: Path
) -> None:
    client = await make_client(control, "contributor")
    away = {"HEADRACE_HOME": str(tmp_path / "none"), "SSL_CERT_FILE": str(control.home.ca)}

    _, err = await told(control, *LIST, code=8, environment=away)
    await told(control, *MAKE, environment=signed_in(client, **away))

    assert "AZURE_CLIENT_ID" in err
    assert (await control.get("/onlineEndpoints/houses")).status == 200
    assert not (tmp_path / "none").exists()


async def test_a_wrong_secret_says_whose_it_is_and_where_it_came_from(
    control: ControlClient,
) -> None:
    client = await make_client(control, "owner")
    wrong = signed_in(client, AZURE_CLIENT_SECRET="not-it")

    _, err = await told(control, *LIST, code=4, environment=wrong)

    assert "[invalid_client]" in err
    assert client.id in err
    assert "AZURE_CLIENT_SECRET" in err
    assert "not-it" not in err


@pytest.mark.parametrize("tenant", ["", OTHER_TENANT])
async def test_a_secret_that_is_not_said_to_be_of_this_tenant_is_not_sent(
    control: ControlClient, tenant: str
) -> None:
    client = await make_client(control, "reader")
    other = signed_in(client, AZURE_TENANT_ID=tenant)

    _, err = await told(control, *LIST, "--debug", environment=other)
    await told(control, *MAKE, environment=other)  # as the admin

    assert "oauth2" not in err


async def test_half_of_the_variables_is_the_admin(control: ControlClient) -> None:
    out, _ = await told(control, *LIST, environment={"AZURE_CLIENT_ID": "some"})

    assert out.strip() == "[]"


async def test_debug_shows_neither_the_secret_nor_the_token(control: ControlClient) -> None:
    client = await make_client(control, "reader")

    _, err = await told(control, *LIST, "--debug", environment=signed_in(client))

    assert "/oauth2/v2.0/token" in err
    assert "client_secret=***" in err
    assert client.secret not in err
    assert "eyJ" not in err  # how each token begins


async def test_a_token_serves_until_shortly_before_its_end(control: ControlClient) -> None:
    client, now = await make_client(control, "reader"), [0.0]
    http = Http(control.base, ca=control.home.ca, trace=lambda _: None)
    bearer = ClientCredential(client.id, client.secret, now_s=lambda: now[0])

    first = await asyncio.to_thread(bearer, http)
    now[0] = 3_000.0
    same = await asyncio.to_thread(bearer, http)
    await control.send("DELETE", f"/clients/{client.id}")
    now[0] = 3_400.0
    with pytest.raises(Exception, match="was refused a token"):
        await asyncio.to_thread(bearer, http)

    assert first == same
    http.close()
