"""Who may call an endpoint of `auth_mode: aad_token`, tried on the whole platform."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from headrace_api.home import Home
from headrace_services.certificates import ensure_certificates
from support.control import WORKSPACE
from support.deploy import Workbench
from support.identity import TENANT, OuterIssuer, OuterKeys, encode, outer_issuer
from support.platform import Platform, started, until

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]

OPEN, OTHER = "houses", "flats"
OUT_BOUND_S = 30.0  # docs/identity.md says 10 for an ingress that lost a message; a machine is slow
TIMEOUT_S = 30
AUDIENCE = "headrace-test"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Control may call an issuer of this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADRACE_ALLOW_PRIVATE_URLS", "1")
        yield from started(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def world(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """Two endpoints that take tokens, a deployment behind each."""
    bench = Workbench(platform, tmp_path_factory.mktemp("code"))
    for name in (OPEN, OTHER):
        bench.endpoint(name, auth_mode="aad_token")
        bench.deploy(name, "blue", "bytes")
    return platform


@contextmanager
def idp(folder: Path) -> Iterator[OuterIssuer]:
    """An OIDC issuer on a loop of its own, since the platform's commands block this thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    running = outer_issuer(folder)
    try:
        yield asyncio.run_coroutine_threadsafe(running.__aenter__(), loop).result(TIMEOUT_S)
        leaving = running.__aexit__(None, None, None)
        asyncio.run_coroutine_threadsafe(leaving, loop).result(TIMEOUT_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def send(
    method: str, url: str, token: str = "", body: bytes | None = None, ca: Path | None = None
) -> tuple[int, bytes]:
    """One request with a bearer token, if any; status and body, of refusals too."""
    headers = JSON | ({"Authorization": f"Bearer {token}"} if token else {})
    request = Request(url, method=method, data=body, headers=headers)
    context = ssl.create_default_context(cafile=ca) if ca else None
    try:
        with urlopen(request, timeout=TIMEOUT_S, context=context) as reply:
            return reply.status, reply.read()
    except HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read()


def client(platform: Platform, role: str, *words: str) -> dict[str, Any]:
    return dict(platform.json("client", "create", "--role", role, *words))


def token_of(platform: Platform, one: dict[str, Any]) -> str:
    """From the platform's own issuer, as azure-identity asks it."""
    base = platform.status()["control_url"]
    form = {
        "grant_type": "client_credentials",
        "client_id": one["client_id"],
        "client_secret": one["client_secret"],
        "scope": "https://ml.azure.com/.default",
    }
    url = Request(f"{base}/{TENANT}/oauth2/v2.0/token", data=urlencode(form).encode())
    context = ssl.create_default_context(cafile=platform.home / "ca.pem")
    with urlopen(url, timeout=TIMEOUT_S, context=context) as reply:
        return str(json.load(reply)["access_token"])


def score(platform: Platform, token: str, endpoint: str = OPEN) -> int:
    return send("POST", platform.url(endpoint), token, b"{}")[0]


def answers(platform: Platform, token: str, *wanted: int, endpoint: str = OPEN) -> None:
    """A new client is known to an ingress with the next route, so the answer may come later."""
    until(
        lambda: score(platform, token, endpoint) in wanted, f"one of {wanted}", bound_s=OUT_BOUND_S
    )


def test_a_scorers_token_scores_and_a_readers_is_refused(world: Platform) -> None:
    answers(world, token_of(world, client(world, "scorer")), 200)
    assert score(world, token_of(world, client(world, "reader"))) == 403


def test_a_client_that_is_deleted_scores_no_more(world: Platform) -> None:
    mine = client(world, "scorer")
    token = token_of(world, mine)
    answers(world, token, 200)

    world.run("client", "delete", "-n", mine["client_id"])

    answers(world, token, 401, 403)


def test_forged_and_missing_tokens_are_refused(world: Platform) -> None:
    good = token_of(world, client(world, "scorer"))
    answers(world, good, 200)
    head, claims, signature = good.split(".")
    swapped = "B" if signature[0] == "A" else "A"
    own = OuterKeys().sign({"iss": "https://localhost", "sub": "me", "exp": time.time() + 60})
    forged = [
        f"{head}.{claims}.{swapped}{signature[1:]}",
        f"{head}.{encode({'sub': 'somebody', 'exp': time.time() + 60})}.{signature}",
        f"{encode({'alg': 'none'})}.{claims}.",
        own,
        "nonsense",
        "",
    ]
    assert [score(world, one) for one in forged] == [401] * len(forged)


def test_a_scorer_of_one_endpoint_is_refused_on_another(world: Platform) -> None:
    token = token_of(world, client(world, "scorer", "--endpoint", OPEN))
    answers(world, token, 200)
    assert score(world, token, OTHER) == 403


def test_an_outer_issuers_token_scores_until_the_issuer_is_deleted(
    world: Platform, tmp_path: Path
) -> None:
    with idp(tmp_path / "idp") as issuer:
        (tmp_path / "idp.pem").write_text(issuer.ca)
        words = ("--issuer", issuer.url, "--audience", AUDIENCE, "--role", "scorer")
        more = ("--endpoint", OPEN, "--subject", "ann", "--ca-file", str(tmp_path / "idp.pem"))
        added = world.json("issuer", "add", *words, *more)
        claims = {"iss": issuer.url, "aud": AUDIENCE, "sub": "ann", "exp": time.time() + 120}
        token = issuer.keys.sign(claims)
        answers(world, token, 200)
        # A route names only issuers with a role there: on the other one it is a stranger's token.
        assert score(world, token, OTHER) == 401
        assert score(world, issuer.keys.sign(claims | {"sub": "bob"})) in (401, 403)
        assert score(world, issuer.keys.sign(claims | {"aud": "others"})) == 401
        assert score(world, OuterKeys().sign(claims)) == 401

    # An ingress calls nobody: the keys it has outlive the issuer's absence.
    assert score(world, token) == 200
    world.run("issuer", "delete", "--id", added["id"])
    answers(world, token, 401, 403)


def test_a_reader_fetches_logs_and_neither_changes_nor_sees_keys(world: Platform) -> None:
    token = token_of(world, client(world, "reader"))
    base = f"{world.status()['control_url']}{WORKSPACE}/onlineEndpoints/{OPEN}"

    def ask(method: str, path: str, body: bytes = b"{}") -> int:
        url = f"{base}{path}?api-version=2024-04-01"
        return send(method, url, token, body, world.home / "ca.pem")[0]

    assert ask("POST", "/deployments/blue/getLogs", b'{"tail": 5}') == 200
    assert ask("POST", "/token") == 403
    assert ask("DELETE", "/deployments/blue") == 403


def test_curl_calls_control_with_what_env_azure_prints(world: Platform, tmp_path: Path) -> None:
    """Sourced by bash, so that quoting is tried too, on a machine that had a bundle of its own."""
    theirs = Home(tmp_path)
    ensure_certificates(theirs)
    secret = token_of(world, client(world, "reader"))
    script = """set -eu
eval "$ENV_AZURE"
curl --silent --show-error --fail --header @- "$AZURE_AUTHORITY_HOST/subscriptions/\
$AZURE_SUBSCRIPTION_ID/resourceGroups/$AZURE_RESOURCE_GROUP/providers/\
Microsoft.MachineLearningServices/workspaces/$AZUREML_WORKSPACE_NAME/onlineEndpoints\
?api-version=2024-04-01" """
    done = subprocess.run(
        ["bash", "-c", script],
        input=f"Authorization: Bearer {secret}\n",
        env={
            "ENV_AZURE": world.run("env", "azure").stdout,
            "CURL_CA_BUNDLE": str(theirs.ca),
            "PATH": "/usr/bin:/bin",
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = {one["name"] for one in json.loads(done.stdout)["value"]}
    assert {OPEN, OTHER} <= names


def test_an_audit_counts_what_was_answered_before_it(world: Platform) -> None:
    token = token_of(world, client(world, "scorer"))
    answers(world, token, 200)
    for _ in range(3):
        before = world.json("audit")
        assert [score(world, token) for _ in range(6)] == [200] * 6
        after = world.json("audit")
        assert after["accepted"] - before["accepted"] == 6
        assert after["completed"] - before["completed"] == 6
        assert after["balanced"]
        assert after["in_flight"] == 0
