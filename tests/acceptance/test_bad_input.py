"""What a user gets for a mistake: a clear error or a bounded wait, and nothing left behind."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.deploy import Workbench, patient
from support.platform import HEADRACE, Platform, until

ENDPOINT = "target"
pytestmark = [pytest.mark.timeout(120), pytest.mark.slow]


@pytest.fixture(scope="module")
def target(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """A platform with one endpoint: blue has all traffic, green has none."""
    bench = Workbench(platform, tmp_path_factory.mktemp("target"))
    bench.endpoint(ENDPOINT)
    bench.deploy(ENDPOINT, "blue", "patient", **patient(1))
    bench.deploy(ENDPOINT, "green", "patient", all_traffic=False, **patient(1))
    return platform


@pytest.fixture
def port(target: Platform) -> Iterator[http.client.HTTPConnection]:
    """A plain connection to the ingress."""
    with target.connection() as connection:
        yield connection


def refused(platform: Platform, *words: str) -> str:
    """Run a command that must fail without a traceback of ours; what it said on stderr."""
    done = subprocess.run(
        [str(HEADRACE), *words],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        env=os.environ | {"HEADRACE_HOME": str(platform.home)},
        check=False,
    )
    assert done.returncode in range(1, 8), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error:"), done.stderr
    return done.stderr


def traffic(platform: Platform) -> dict[str, int]:
    shown = platform.json("online-endpoint", "show", "-n", ENDPOINT)
    return {name: share for name, share in shown["traffic"].items() if share}


def post(
    port: http.client.HTTPConnection, key: str, body: bytes = b"{}", **headers: str
) -> tuple[int, bytes, http.client.HTTPMessage]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    json_type = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    port.request("POST", f"/endpoints/{ENDPOINT}/score", body=body, headers=json_type | named)
    answer = port.getresponse()
    return answer.status, answer.read(), answer.headers


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("--traffic", "blue=90"), ("90", "100")),
        (("--traffic", "blue=110"), ("110",)),
        (("--traffic", "blue=-10 green=110"), ("blue",)),
        (("--traffic", "blue=50 grey=50"), ("grey",)),
        (("--mirror-traffic", "green=60"), ("60", "50")),
        (("--mirror-traffic", "blue=10"), ("blue",)),
        (("--mirror-traffic", "grey=10"), ("grey",)),
        (("--traffic", "blue"), ("blue",)),
    ],
)
def test_a_split_that_breaks_a_rule_changes_nothing(
    target: Platform, change: tuple[str, ...], words: tuple[str, ...]
) -> None:
    said = refused(target, "online-endpoint", "update", "-n", ENDPOINT, *change)

    assert all(word in said for word in words), said
    assert traffic(target) == {"blue": 100}


def test_a_deployment_with_traffic_is_not_deleted(target: Platform) -> None:
    said = refused(target, "online-deployment", "delete", "-n", "blue", "-e", ENDPOINT, "-y")

    assert "traffic" in said
    assert target.scorers(ENDPOINT, "blue")


@pytest.mark.parametrize("name", ["ab", "1st", "under_score", "ends-", "a" * 33, "../up", "ümlaut"])
def test_a_name_that_breaks_the_rule_is_named(target: Platform, tmp_path: Path, name: str) -> None:
    file = Workbench(target, tmp_path).write("bad.yml", {"name": name})

    said = refused(target, "online-endpoint", "create", "-f", str(file))

    assert "name" in said
    assert name in said


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{one}: &{one} [{','.join([f'*{two}'] * 9)}]\n" for two, one in pairwise("abcdefghi")
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: tabbed\n\tauth_mode: key\n", ("bad.yml:2", "tab")),
        (BOMB, ("bad.yml",)),
        ("name: [a, list]\n", ("bad.yml", "name")),
        ("name: typed\ntraffic: all\n", ("bad.yml", "traffic", "all")),
        ("name: moded\nauth_mode: password\n", ("bad.yml", "auth_mode", "password", "aml_token")),
        ("name: extra\nauth_mod: key\n", ("bad.yml", "auth_mod")),
        ("name: twice\nname: again\n", ("bad.yml", "name")),
        ("!!python/object/apply:os.system ['true']\n", ("bad.yml",)),
        ("", ("bad.yml",)),
    ],
    ids=["tab", "bomb", "list", "type", "value", "key", "twice", "tag", "empty"],
)
def test_bad_yaml_names_file_key_and_value(
    target: Platform, tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    (tmp_path / "bad.yml").write_text(text)

    said = refused(target, "online-endpoint", "create", "-f", str(tmp_path / "bad.yml"))

    assert all(word in said for word in words), said


def test_a_model_that_is_missing_or_leaves_its_folder_is_named(
    target: Platform, bench: Workbench
) -> None:
    missing = bench.deployment_file(ENDPOINT, "grey", "patient", model={"path": "gone/model.pkl"})
    said = refused(target, "online-deployment", "create", "-f", str(missing))
    assert "gone/model.pkl" in said

    folder = bench.folder / "models"
    folder.mkdir()
    (folder / "escape").symlink_to("/etc/passwd")
    leaving = bench.deployment_file(ENDPOINT, "grey", "patient", model={"path": "models"})
    said = refused(target, "online-deployment", "create", "-f", str(leaving))
    assert "escape" in said
    names = [one["name"] for one in target.json("online-deployment", "list", "-e", ENDPOINT)]
    assert "grey" not in names


def test_an_unknown_deployment_in_the_header_is_404(
    target: Platform, port: http.client.HTTPConnection
) -> None:
    status, body, _ = post(port, target.key(ENDPOINT), azureml_model_deployment="grey")

    assert (status, json.loads(body)["error"]["code"]) == (404, "DeploymentNotFound")


def test_keys_are_checked_and_an_old_one_is_refused_after_regeneration(
    target: Platform, port: http.client.HTTPConnection
) -> None:
    primary = target.key(ENDPOINT)
    keys = target.json("online-endpoint", "get-credentials", "-n", ENDPOINT)
    for wrong in ("", "wrong", primary[:-1], primary + "x"):
        assert post(port, wrong)[0] == 401
    assert post(port, primary)[0] == 200

    target.run("online-endpoint", "regenerate-keys", "-n", ENDPOINT)

    until(lambda: post(port, primary)[0] == 401, "the ingress to know the new keys")
    assert post(port, target.key(ENDPOINT))[0] == 200
    assert post(port, keys["secondaryKey"])[0] == 200


def test_an_empty_body_is_the_models_error_not_ours(
    target: Platform, port: http.client.HTTPConnection
) -> None:
    status, _, headers = post(port, target.key(ENDPOINT), b"")

    assert status == 424
    assert headers["ms-azureml-model-error-statuscode"] == "500"


def test_a_body_past_the_limit_is_413_before_it_is_read(target: Platform) -> None:
    """The client may still be writing when the answer comes."""
    parts = urlsplit(target.status()["http_url"])
    head = (
        f"POST /endpoints/{ENDPOINT}/score HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {target.key(ENDPOINT)}\r\nContent-Length: {100 << 20}\r\n\r\n"
    )
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as peer:
        peer.sendall(head.encode())
        answer = peer.recv(65536)

    assert answer.startswith(b"HTTP/1.1 413 ")


def test_headers_past_the_limit_are_431(target: Platform, port: http.client.HTTPConnection) -> None:
    try:
        status, _, _ = post(port, target.key(ENDPOINT), x_long="x" * 200_000)
    except (BrokenPipeError, ConnectionResetError):
        answer = port.getresponse()
        status = answer.status

    assert status == 431


@pytest.mark.parametrize("part", ["POST /endp", "POST /x HTTP/1.1\r\nHost: x\r\nContent-Le"])
def test_half_a_head_and_then_silence_ends(target: Platform, part: str) -> None:
    parts = urlsplit(target.status()["http_url"])
    with socket.create_connection((parts.hostname, parts.port), timeout=40) as peer:
        peer.sendall(part.encode())
        answer = peer.recv(65536)

    assert answer == b"" or answer.startswith(b"HTTP/1.1 408 ")


def test_half_a_body_and_then_silence_is_408(target: Platform) -> None:
    parts = urlsplit(target.status()["http_url"])
    head = (
        f"POST /endpoints/{ENDPOINT}/score HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {target.key(ENDPOINT)}\r\nContent-Length: 100\r\n\r\nhalf"
    )
    with socket.create_connection((parts.hostname, parts.port), timeout=40) as peer:
        peer.sendall(head.encode())
        answer = peer.recv(65536)

    assert answer.startswith(b"HTTP/1.1 408 ")


def test_what_does_not_exist_exits_3_and_a_second_create_changes_nothing(
    target: Platform, bench: Workbench
) -> None:
    target.run("online-endpoint", "show", "-n", "nowhere", code=3)
    target.run("online-deployment", "show", "-n", "grey", "-e", ENDPOINT, code=3)
    file = str(bench.write("again.yml", {"name": "again"}))
    target.run("online-endpoint", "create", "-f", file)

    again = target.run("online-endpoint", "create", "-f", file)

    assert "unchanged" in again.stderr
    other = str(bench.write("other.yml", {"name": "again", "auth_mode": "aml_token"}))
    assert "exists" in refused(target, "online-endpoint", "create", "-f", other)
