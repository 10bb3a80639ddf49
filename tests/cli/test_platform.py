"""The verbs against a real platform: what a user types, what comes back, with which exit code."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from support.platform import HEADRACE, Platform

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SCORE = """
import json, os

def init():
    global bias
    bias = json.load(open(os.path.join(os.environ["AZUREML_MODEL_DIR"], {name!r})))["bias"]

def run(raw):
    print("asked", raw)
    return bias + json.loads(raw)["x"]
"""


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    home = Path(tempfile.mkdtemp(prefix="headrace-cli-"))
    one = Platform(home)
    one.up()
    yield one
    one.run("down", "--purge")
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def endpoint(platform: Platform, request: pytest.FixtureRequest) -> str:
    """An endpoint of the test's own."""
    name = f"e{zlib.crc32(request.node.name.encode())}"
    platform.run("online-endpoint", "create", "-n", name)
    return name


def test_create_again_is_unchanged_and_another_definition_is_a_conflict(
    platform: Platform, tmp_path: Path
) -> None:
    file = tmp_path / "endpoint.yml"
    file.write_text("name: twice\nauth_mode: key\ntags: {a: b}\n")
    platform.run("online-endpoint", "create", "-f", str(file))
    assert "unchanged" in platform.run("online-endpoint", "create", "-f", str(file)).stderr
    done = platform.run(
        "online-endpoint", "create", "-n", "twice", "--auth-mode", "aml_token", code=6
    )
    assert "differs in auth_mode" in done.stderr
    assert "hint: headrace online-endpoint update -n twice" in done.stderr


def test_show_prints_the_shape_of_az(platform: Platform, endpoint: str) -> None:
    shown = platform.json("online-endpoint", "show", "-n", endpoint)
    assert shown["provisioning_state"] == "Succeeded"
    assert (shown["auth_mode"], shown["kind"], shown["traffic"]) == ("key", "Managed", {})
    done = platform.run(
        "online-endpoint", "show", "-n", endpoint.upper(), "--query", "scoring_uri", "-o", "tsv"
    )
    assert done.stdout == f"{shown['scoring_uri']}\n"
    assert endpoint in [one["name"] for one in platform.json("online-endpoint", "list")]


def test_update_edits_with_the_generic_options(platform: Platform, endpoint: str) -> None:
    words = ("--set", "description=two words", "tags.a=b", "--add", "tags", "c=d")
    shown = platform.json("online-endpoint", "update", "-n", endpoint, *words)
    assert shown["description"] == "two words"
    assert shown["tags"] == {"a": "b", "c": "d"}
    shown = platform.json("online-endpoint", "update", "-n", endpoint, "--remove", "tags.a")
    assert shown["tags"] == {"c": "d"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--traffic", "blue=90"), "sum to 90; they must sum to 100"),
        (("--traffic", "red=100"), "traffic names 'red', which is not a deployment"),
        (("--mirror-traffic", "green=60"), "at most 50 percent"),
        (("--set", "nonsense=1"), "nonsense is not a key of this block"),
    ],
)
def test_a_wrong_update_is_refused_and_named(
    platform: Platform, endpoint: str, words: tuple[str, ...], said: str
) -> None:
    assert said in platform.run("online-endpoint", "update", "-n", endpoint, *words, code=1).stderr


def test_what_does_not_exist_exits_3(platform: Platform, endpoint: str) -> None:
    for words in (
        ("online-endpoint", "show", "-n", "nobody"),
        ("online-endpoint", "delete", "-n", "nobody", "-y"),
        ("online-deployment", "show", "-n", "blue", "-e", endpoint),
        ("online-deployment", "get-logs", "-n", "blue", "-e", endpoint),
        ("model", "show", "-n", "nothing", "-v", "1"),
        ("online-endpoint", "wait", "-n", "nobody"),
        ("key", "nobody"),
    ):
        assert "error: " in platform.run(*words, code=3).stderr


def test_an_endpoint_without_deployments_answers_with_the_known_words(
    platform: Platform, endpoint: str, tmp_path: Path
) -> None:
    body = tmp_path / "request.json"
    body.write_text("{}")
    words = ("online-endpoint", "invoke", "-n", endpoint, "-r", str(body))
    refused = platform.run(*words, code=3).stderr
    assert "No valid deployments to route to" in refused
    assert f"hint: headrace online-deployment create -e {endpoint} -f FILE" in refused
    done = platform.run(*words, "-d", "blue", code=3)
    assert "Deployment name blue not found for this endpoint" in done.stderr


def test_a_wrong_token_exits_4(platform: Platform) -> None:
    token = platform.home / "token"
    good = token.read_text()
    try:
        token.write_text("wrong\n")
        assert "error: " in platform.run("online-endpoint", "list", code=4).stderr
    finally:
        token.write_text(good)


def test_a_foreign_ca_is_refused_before_the_token_leaves(
    platform: Platform, tmp_path: Path
) -> None:
    from headrace_api.home import Home
    from headrace_services.certificates import ensure_certificates

    other = tmp_path / "other"
    ensure_certificates(Home(other))
    (other / "token").write_text("secret-token")
    url = str(platform.status()["control_url"])
    done = Platform(other).run("online-endpoint", "list", code=8, HEADRACE_CONTROL_URL=url)
    assert "is not signed by" in done.stderr


def test_one_key_is_replaced_and_the_other_stays(platform: Platform, endpoint: str) -> None:
    before = platform.json("online-endpoint", "get-credentials", "-n", endpoint)
    assert platform.key(endpoint) == before["primaryKey"]
    platform.run("online-endpoint", "regenerate-keys", "-n", endpoint, "--key-type", "secondary")
    after = platform.json("online-endpoint", "get-credentials", "-n", endpoint)
    assert after["primaryKey"] == before["primaryKey"]
    assert after["secondaryKey"] != before["secondaryKey"]


def test_debug_shows_the_exchange_and_no_secret(platform: Platform, endpoint: str) -> None:
    done = platform.run("key", endpoint, "--debug")
    assert "/listKeys" in done.stderr
    for secret in (done.stdout.strip(), (platform.home / "token").read_text().strip()):
        assert secret not in done.stderr


def test_wait_ends_at_its_timeout_with_124(platform: Platform, endpoint: str) -> None:
    words = ("online-endpoint", "wait", "-n", endpoint)
    assert platform.json(*words)["name"] == endpoint
    done = platform.run(*words, "--for", "deleted", "--timeout", "0.2", code=124)
    assert "not deleted" in done.stderr


def test_a_deleted_endpoint_is_gone(platform: Platform, endpoint: str) -> None:
    platform.run("online-endpoint", "delete", "-n", endpoint, "-y")
    platform.run("online-endpoint", "show", "-n", endpoint, code=3)


def test_models_have_versions_labels_and_an_archive(platform: Platform, tmp_path: Path) -> None:
    folder = tmp_path / "model folder"
    folder.mkdir()
    (folder / "a+b %.bin").write_bytes(b"x" * 1000)
    words = ("model", "create", "-n", "many", "--path", str(folder))
    assert platform.json(*words)["version"] == "1"
    assert "(cached)" in platform.run(*words).stderr
    (folder / "c.bin").write_bytes(b"")
    assert platform.json(*words)["version"] == "2"
    assert platform.json("model", "show", "-n", "many", "--label", "latest")["version"] == "2"
    assert len(platform.json("model", "list", "-n", "many")) == 2
    done = platform.run(*words, "-v", "1", code=1)
    assert "Asset paths cannot be updated" in done.stderr
    updated = platform.json("model", "update", "-n", "many", "-v", "1", "--set", "tags.a=b")
    assert updated["tags"] == {"a": "b"}
    platform.run("model", "update", "-n", "many", "-v", "1", "--set", "path=x", code=2)
    platform.run("model", "archive", "-n", "many", "-v", "1")
    assert [one["version"] for one in platform.json("model", "list", "-n", "many")] == ["2"]
    platform.run("model", "restore", "-n", "many", "-v", "1")
    assert len(platform.json("model", "list", "-n", "many")) == 2


def test_a_file_past_the_single_put_goes_up_in_blocks(platform: Platform, tmp_path: Path) -> None:
    """32 MiB is the bound of one PUT; the digest of what arrived is the store's own check."""
    path = tmp_path / "big.bin"
    with path.open("wb") as file:
        file.truncate(33 * 1024 * 1024)
    done = platform.run("model", "create", "-n", "big", "--path", str(path), "--debug")
    assert "comp=blocklist" in done.stderr
    assert "(cached)" in platform.run("model", "create", "-n", "big", "-p", str(path)).stderr


def test_environments_are_registered(platform: Platform, tmp_path: Path) -> None:
    conda = tmp_path / "conda.yml"
    conda.write_text("dependencies: [python=3.11]\n")
    words = ("environment", "create", "-n", "env", "-i", "img", "-c", str(conda))
    assert platform.json(*words)["version"] == "1"
    assert platform.json(*words)["version"] == "2"
    assert "dependencies" in platform.json("environment", "show", "-n", "env")["conda_file"]
    assert platform.json("environment", "list")[0]["latest_version"] == "2"


def test_a_deployment_needs_its_endpoint_and_a_script_that_parses(
    platform: Platform, endpoint: str, tmp_path: Path
) -> None:
    file = deployment_file(tmp_path, endpoint)
    words = ("online-deployment", "create", "-f", str(file))
    assert "does not exist" in platform.run(*words, "-e", "nobody", code=3).stderr
    (tmp_path / "src" / "score.py").write_text("def init(: ...\n")
    done = platform.run(*words, code=1)
    assert "score.py is not valid Python: line 1: " in done.stderr
    assert (
        "--all-traffic waits for"
        in platform.run(*words, "--all-traffic", "--no-wait", code=2).stderr
    )


def test_a_deployment_serves_fails_with_its_traceback_and_goes(
    platform: Platform, endpoint: str, tmp_path: Path
) -> None:
    file = deployment_file(tmp_path, endpoint)
    created = platform.run("online-deployment", "create", "-f", str(file), "--all-traffic")
    assert "✓ traffic blue 100 %" in created.stderr
    assert "unchanged" in platform.run("online-deployment", "create", "-f", str(file)).stderr
    body = tmp_path / "request.json"
    body.write_text('{"x": 2}')
    invoke = ("online-endpoint", "invoke", "-n", endpoint, "-r", str(body))
    assert json.loads(platform.run(*invoke).stdout) == 42
    where = ("-n", "blue", "-e", endpoint)
    assert 'asked {"x": 2}' in platform.run("online-deployment", "get-logs", *where).stdout

    (tmp_path / "green").mkdir()
    green = deployment_file(tmp_path / "green", endpoint, name="green", wanted="modell.json")
    failed = platform.run("online-deployment", "create", "-f", str(green), code=5)
    assert "FileNotFoundError" in failed.stderr
    assert "did you mean model.json?" in failed.stderr
    assert f"more: headrace online-deployment get-logs -e {endpoint} -n green" in failed.stderr
    assert "traffic is unchanged: blue 100 %" in failed.stderr

    body.write_text("no json")
    assert "the model answered 500" in platform.run(*invoke, code=1).stderr
    delete = ("online-deployment", "delete", *where, "-y")
    assert "100 % of the live traffic" in platform.run(*delete, code=6).stderr
    platform.run("online-endpoint", "update", "-n", endpoint, "--traffic", "blue=0")
    platform.run(*delete)
    platform.run("online-deployment", "show", *where, code=3)


def test_a_file_without_traffic_leaves_the_traffic(
    platform: Platform, endpoint: str, tmp_path: Path
) -> None:
    file = deployment_file(tmp_path, endpoint)
    platform.run("online-deployment", "create", "-f", str(file), "--all-traffic")
    spec = tmp_path / "endpoint.yml"
    spec.write_text(f"name: {endpoint}\ndescription: new\n")
    shown = platform.json("online-endpoint", "update", "-f", str(spec))
    assert (shown["description"], shown["traffic"]) == ("new", {"blue": 100})
    spec.write_text(f"name: {endpoint}\ntraffic: {{}}\n")
    assert platform.json("online-endpoint", "update", "-f", str(spec))["traffic"] == {}


def test_an_interrupt_stops_the_waiting_and_not_the_work(
    platform: Platform, endpoint: str, tmp_path: Path
) -> None:
    file = deployment_file(tmp_path, endpoint)
    script = tmp_path / "src" / "score.py"
    script.write_text(script.read_text().replace("    global bias", "    global bias; wait()"))
    script.write_text("def wait():\n    import time\n    time.sleep(5)\n" + script.read_text())
    creating = start(platform, "online-deployment", "create", "-f", str(file))
    assert creating.stderr is not None
    # The line comes from the operation, so the write has been accepted.
    until(creating.stderr, "environment")
    creating.send_signal(signal.SIGINT)
    _, said = creating.communicate(timeout=60)
    assert creating.returncode == 130
    assert "is still running; only this command stopped waiting" in said
    resume = f"online-deployment wait -n blue -e {endpoint}"
    assert f"hint: headrace {resume}" in said
    assert platform.json(*resume.split())["provisioning_state"] == "Succeeded"


def test_a_followed_log_shows_what_is_added(
    platform: Platform, endpoint: str, tmp_path: Path
) -> None:
    file = deployment_file(tmp_path, endpoint)
    platform.run("online-deployment", "create", "-f", str(file), "--all-traffic")
    following = start(
        platform, "online-deployment", "get-logs", "-n", "blue", "-e", endpoint, "--follow"
    )
    assert following.stdout is not None
    until(following.stdout, "ready for serving traffic")
    body = tmp_path / "request.json"
    body.write_text('{"x": 5}')
    platform.run("online-endpoint", "invoke", "-n", endpoint, "-r", str(body))
    until(following.stdout, 'asked {"x": 5}')
    following.send_signal(signal.SIGINT)
    following.communicate(timeout=60)
    assert following.returncode == 130
    where = ("-n", "blue", "-e", endpoint, "--container", "storage-initializer")
    assert platform.run("online-deployment", "get-logs", *where).stdout


def start(platform: Platform, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(HEADRACE), *args],
        env=os.environ | {"HEADRACE_HOME": str(platform.home), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(stream: IO[str], words: str) -> None:
    """Read lines until one holds the words; the test's own timeout bounds it."""
    for line in stream:
        if words in line:
            return
    raise AssertionError(f"the output ended without {words!r}")


def deployment_file(
    folder: Path, endpoint: str, *, name: str = "blue", wanted: str = "model.json"
) -> Path:
    (folder / "src").mkdir()
    (folder / "src" / "score.py").write_text(SCORE.format(name=wanted))
    (folder / "model.json").write_text('{"bias": 40}')
    file = folder / f"{name}.yml"
    file.write_text(
        f"name: {name}\nendpoint_name: {endpoint}\nmodel: {{path: model.json}}\n"
        "code_configuration: {code: src, scoring_script: score.py}\n"
        "instance_type: Standard_DS3_v2\ninstance_count: 1\n"
    )
    return file


def test_the_verbs_of_2021_reach_a_deployment_through_its_endpoint(
    platform: Platform, endpoint: str
) -> None:
    for words in (("get-logs",), ("delete", "-y")):
        done = platform.run(
            "endpoint", words[0], "-n", endpoint, "--deployment", "blue", *words[1:], code=3
        )
        assert "deployment 'blue'" in done.stderr
    assert platform.json("endpoint", "show", "-n", endpoint)["name"] == endpoint
