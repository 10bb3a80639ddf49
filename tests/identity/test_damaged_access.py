"""A client or an issuer whose record cannot be read has no rights, and takes none from others."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from support.control import ControlClient
from support.damage import damage
from support.identity import as_bearer, ask_token, fetch_token, make_client, outer_issuer
from support.nats_server import NatsServer


async def test_a_client_that_cannot_be_read_is_refused_put_right_and_deleted(
    control: ControlClient, nats_server: NatsServer
) -> None:
    broken, whole = [await make_client(control, "reader") for _ in range(2)]
    token = await fetch_token(control, broken)
    path = f"/clients/{broken.id}"
    await damage(nats_server.url, "spec", f"client.{broken.id}")

    form = {"grant_type": "client_credentials", "scope": f"{control.base}/.default"}
    credentials = {"client_id": broken.id, "client_secret": broken.secret}
    status, _ = await ask_token(control, form | credentials)
    asked = await control.get(path)
    listed = (await control.get("/clients")).json["value"]

    assert status == 401
    assert (await as_bearer(control, token, "GET", "/models")).status == 401
    assert (asked.status, broken.id in asked.json["error"]["message"]) == (500, True)
    assert [one["name"] for one in listed] == [whole.id]
    put = await control.put(path, {"properties": {"role": "reader"}})
    assert put.status == 201, put.data
    assert put.json["properties"]["secret"] != broken.secret
    await damage(nats_server.url, "spec", f"client.{broken.id}")
    assert (await control.send("DELETE", path)).status == 200
    assert (await control.get(path)).status == 404


async def test_an_issuer_that_cannot_be_read_stands_in_no_other_s_way(
    control: ControlClient, nats_server: NatsServer, tmp_path: Path
) -> None:
    broken, whole = str(uuid4()), str(uuid4())
    await damage(nats_server.url, "spec", f"issuer.{broken}")
    async with outer_issuer(tmp_path / "idp") as issuer:
        known: dict[str, Any] = {"issuer": issuer.url, "audience": "us", "caCertificate": issuer.ca}
        body = {"properties": known | {"role": "reader"}}
        made = await control.put(f"/issuers/{whole}", body)
        assert made.status == 201, made.data
        claims = {"iss": issuer.url, "aud": "us", "sub": "ann", "exp": time.time() + 60}
        token = issuer.keys.sign(claims)

        assert (await as_bearer(control, token, "GET", "/models")).status == 200
        assert [one["name"] for one in (await control.get("/issuers")).json["value"]] == [whole]
        asked = await control.get(f"/issuers/{broken}")
        assert (asked.status, broken in asked.json["error"]["message"]) == (500, True)

        await damage(nats_server.url, "state", f"jwks.{whole}")
        assert (await as_bearer(control, token, "GET", "/models")).status == 401
        assert (await control.send("DELETE", f"/issuers/{whole}")).status == 200

        await damage(nats_server.url, "state", f"jwks.{broken}")
        assert (await control.put(f"/issuers/{broken}", body)).status == 201
        assert (await as_bearer(control, token, "GET", "/models")).status == 200
        await damage(nats_server.url, "spec", f"issuer.{broken}")
        assert (await control.send("DELETE", f"/issuers/{broken}")).status == 200
        assert (await control.get("/issuers")).json["value"] == []
