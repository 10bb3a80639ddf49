"""No secret leaves its private file: not into a log, an argument, an environment or --debug."""

from __future__ import annotations

import base64
import json
import re
import socket
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from support.deploy import Workbench
from support.platform import Platform, started

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

OF_MODEL = 'marked-variable-{"in": "braces"}'
OF_ENDPOINT = "marked-key-of-the-endpoint-0123456789"
WRONG = "marked-wrong-credential-0123456789"
IN_BODY = "marked-body-0123456789"
SEED = re.compile(r"\bS[A-Z]{1,2}[A-Z2-7]{50,}")
PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n([A-Za-z0-9+/=]+)\n")


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    yield from started(tmp_path_factory.mktemp("secrets") / "home")


@pytest.fixture(scope="module")
def said(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The traces of --debug, while a user did all that has to do with secrets."""
    bench = Workbench(platform, tmp_path_factory.mktemp("files"))
    bench.endpoint("vault")
    file = bench.deployment_file("vault", "blue", "faulty")
    text = json.dumps(OF_MODEL)
    file.write_text(file.read_text() + f"environment_variables: {{MARKED: {text}}}\n")
    said: dict[str, str] = {}

    def run(*words: str, code: int = 0) -> None:
        done = platform.run(*words, "--debug", code=code)
        said[" ".join(words[:2])] = done.stderr

    name = ("-e", "vault", "-n", "blue")
    run("online-deployment", "create", "-f", str(file), "--all-traffic")
    run("online-deployment", "update", *name, "--set", "tags.a=b")
    run("online-deployment", "get-logs", *name)
    run("online-endpoint", "invoke", "-n", "vault", "--request-file", _body(bench, {}))
    raising = {"do": "raise", "mark": IN_BODY}
    run("online-endpoint", "invoke", "-n", "vault", "-r", _body(bench, raising), code=1)
    run("model", "create", "-n", "m", "-v", "1", "--path", str(bench.folder))
    with platform.connection() as http:
        for key in (WRONG, platform.key("vault")):
            headers = {"Authorization": f"Bearer {key}", "azureml-model-deployment": "blue"}
            body = json.dumps({"mark": IN_BODY, "do": "segfault"}).encode()
            http.request("POST", "/endpoints/vault/score", body=body, headers=headers)
            http.getresponse().read()
    for port in ("control_url", "ingress_url"):
        _say(platform, port, f"GET /healthz HTTP/1.1\r\nAuthorization: Bearer {WRONG}\0\r\n\r\n")
    return said


def _say(platform: Platform, which: str, text: str) -> None:
    """Bytes that are no HTTP, so that whoever complains of them might quote them."""
    parts = urlsplit(platform.status()[which])
    context = ssl.create_default_context(cafile=platform.home / "ca.pem")
    address = (parts.hostname or "", parts.port or 0)
    with (
        socket.create_connection(address, timeout=30) as plain,
        context.wrap_socket(plain, server_hostname=parts.hostname) as secure,
    ):
        secure.sendall(text.encode())
        assert b" 400 " in secure.recv(1 << 16)


def _body(bench: Workbench, value: dict[str, str]) -> str:
    return str(bench.write("request.json", value))


@pytest.fixture(scope="module")
def secrets(platform: Platform, said: dict[str, str]) -> dict[str, str]:
    """Every secret of this installation, by what it is."""
    found = {"variable": OF_MODEL, "wrong credential": WRONG, "body": IN_BODY}
    keys = platform.json("online-endpoint", "get-credentials", "-n", "vault")
    found |= {name: value for name, value in keys.items() if isinstance(value, str)}
    client = platform.json("client", "create", "--name", "one", "--role", "reader")
    found |= {f"client {name}": one for name, one in client.items() if "secret" in name.lower()}
    found["admin token"] = (platform.home / "token").read_text().strip()
    for path in platform.home.rglob("*"):
        if not path.is_file() or path.stat().st_size > 64 * 1024:
            continue
        data = path.read_bytes()
        name = str(path.relative_to(platform.home))
        if path.suffix == ".key" and b"-----" not in data:
            found[name] = base64.b64encode(data).decode()
            found[f"{name} in hex"] = data.hex()
        text = data.decode("utf-8", "replace")
        for at, one in enumerate((*SEED.findall(text), *PEM.findall(text))):
            found[f"{name} {at}"] = one
    return found


def test_what_is_looked_for_is_there(secrets: dict[str, str]) -> None:
    """Or the other tests would find nothing for another reason."""
    names = " ".join(secrets)
    for part in (
        "primaryKey",
        "secondaryKey",
        "client",
        "admin token",
        "nats",
        "tls",
        "secret.key",
    ):
        assert part in names, names
    assert all(len(one) >= 16 for one in secrets.values())


def test_no_log_and_no_answer_of_debug_holds_a_secret(
    platform: Platform, said: dict[str, str], secrets: dict[str, str]
) -> None:
    secrets = dict(secrets)
    logs = {str(one): one.read_text(errors="replace") for one in platform.home.rglob("*.log*")}
    assert len(logs) >= 4, logs.keys()

    assert "> PUT https://" in said["online-deployment create"]
    assert _holding(logs, secrets) == []
    del secrets["body"]  # --debug shows the exchange, and the body is its own
    assert _holding(said, secrets) == []


def test_no_argument_and_no_environment_holds_a_secret(
    platform: Platform, secrets: dict[str, str]
) -> None:
    """A worker has the variables its user gave it, and nothing else of ours."""
    places: dict[str, str] = {}
    workers = 0
    for process in platform.processes():
        places[f"argv of {process.pid}"] = " ".join(process.cmdline())
        environment = dict(process.environ())
        workers += environment.pop("MARKED", "") == OF_MODEL and _is_worker(process)
        places[f"environ of {process.pid}"] = json.dumps(environment, ensure_ascii=False)

    assert workers >= 1
    assert _holding(places, secrets) == []


def _is_worker(process: psutil.Process) -> bool:
    return "headrace_scorer" not in process.cmdline()


def test_a_file_with_a_secret_is_for_its_owner_only(
    platform: Platform, secrets: dict[str, str]
) -> None:
    open_to_others = []
    for path in platform.home.rglob("*"):
        if not path.is_file() or not stat.S_IMODE(path.stat().st_mode) & 0o077:
            continue
        if any(not stat.S_IMODE(one.stat().st_mode) & 0o077 for one in _above(path, platform.home)):
            continue
        data = path.read_bytes()
        open_to_others += [
            f"{path}: {name}" for name, one in secrets.items() if one.encode() in data
        ]

    assert open_to_others == []


def _above(path: Path, home: Path) -> list[Path]:
    return [one for one in path.parents if one == home or home in one.parents]


def _holding(places: dict[str, str], secrets: dict[str, str]) -> list[str]:
    return [
        f"{place} holds {name}"
        for place, text in places.items()
        for name, value in secrets.items()
        if value in text or json.dumps(value)[1:-1] in text
    ]
