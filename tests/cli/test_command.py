"""The command itself: help, usage errors, what is not supported, exit codes, start-up budget."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from headrace import errors, verbs
from headrace_api.errors import (
    Conflict,
    Forbidden,
    HeadraceError,
    InvalidInput,
    NotFound,
    Unauthorized,
    Unavailable,
)

FORBIDDEN = ("asyncio", "aiohttp", "nats", "numpy", "pydantic", "rich", "yaml", "headrace_bus")
WHICH = """
import sys
from headrace.main import main
code = main(sys.argv[1:])
found = sorted(set(sys.modules) & set({forbidden!r}))
print("IMPORTED", code, *found, file=sys.stderr)
"""


def headrace(*args: str, home: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if "HEADRACE" not in key}
    environment |= more
    if home is not None:
        environment["HEADRACE_HOME"] = str(home)
    return subprocess.run(
        [sys.executable, "-m", "headrace", *args],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def home_of_a_dead_platform(folder: Path) -> Path:
    (folder / "run").mkdir(parents=True)
    (folder / "token").write_text("secret-token\n")
    status = {"control_url": f"https://localhost:{closed_port()}"}
    (folder / "run" / "status.json").write_text(json.dumps(status))
    return folder


@pytest.mark.parametrize(
    "args",
    [
        ("--version",),
        ("--help",),
        ("online-endpoint", "--help"),
        ("online-deployment", "create", "--help"),
        ("online-endpoint", "show", "-n", "iris"),
        ("online-endpoint", "list"),
        ("online-endpoint", "delete", "-n", "iris", "-y"),
        ("online-endpoint", "invoke", "-n", "iris"),
        ("online-deployment", "get-logs", "-n", "blue", "-e", "iris"),
        ("model", "list"),
    ],
)
def test_the_client_path_imports_nothing_heavy(args: tuple[str, ...], tmp_path: Path) -> None:
    home = home_of_a_dead_platform(tmp_path / "home")
    done = subprocess.run(
        [sys.executable, "-c", WHICH.format(forbidden=FORBIDDEN), *args],
        env={**os.environ, "HEADRACE_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    line = next(one for one in done.stderr.splitlines() if one.startswith("IMPORTED"))
    assert line.split()[1] in ("0", "8")
    assert line.split()[2:] == []


@pytest.mark.parametrize("group", verbs.GROUPS)
def test_every_verb_has_help_and_a_short_line_in_its_group(group: str) -> None:
    text = headrace(group, "--help").stdout
    for name in verbs.verbs_of(group):
        assert re.search(rf"^  {name} ", text, re.MULTILINE), name


def test_what_is_not_offered_yet_says_so_and_exits_2() -> None:
    assert "not supported yet" in headrace("--help").stdout
    for args in (("batch-endpoint", "list"), ("job", "show", "-n", "x")):
        done = headrace(*args)
        assert done.returncode == errors.USAGE, done
        assert "not supported yet" in done.stderr
    done = headrace("online-endpoint", "list", "--local")
    assert done.returncode == errors.USAGE
    assert "--local of headrace online-endpoint list is not supported yet" in done.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("online-endpont",), "online-endpoint"),
        (("online-endpoint", "shw"), "Did you mean show"),
        (("online-endpoint", "show", "--nmae", "x"), "--name"),
        (("online-endpoint", "show"), "missing option"),
        (("online-deployment", "get-logs", "-n", "a", "-e", "b", "--lines", "0"), "--lines"),
        (("online-endpoint", "list", "-o", "xml"), "xml"),
    ],
)
def test_a_usage_error_exits_2_and_says_what_was_meant(args: tuple[str, ...], said: str) -> None:
    done = headrace(*args)
    assert done.returncode == errors.USAGE
    assert said in done.stderr
    assert not done.stdout


def test_nothing_running_exits_8_with_a_hint(tmp_path: Path) -> None:
    done = headrace("online-endpoint", "list", home=tmp_path / "none")
    assert done.returncode == errors.UNREACHABLE
    assert done.stderr.startswith("error: no platform has been started")
    assert "hint: headrace up" in done.stderr
    done = headrace("online-endpoint", "list", home=home_of_a_dead_platform(tmp_path / "dead"))
    assert done.returncode == errors.UNREACHABLE
    assert "does not answer" in done.stderr


def test_the_home_option_wins_over_the_environment(tmp_path: Path) -> None:
    home = home_of_a_dead_platform(tmp_path / "home")
    for args in (("--home", str(home), "token"), ("token", "--home", str(home))):
        done = headrace(*args, home=tmp_path / "other")
        assert (done.returncode, done.stdout) == (0, "secret-token\n")


def test_debug_never_shows_the_token(tmp_path: Path) -> None:
    done = headrace("online-endpoint", "list", "--debug", home=home_of_a_dead_platform(tmp_path))
    assert "> GET https://localhost" in done.stderr
    assert "Authorization: ***" in done.stderr
    assert "secret-token" not in done.stdout + done.stderr


def test_delete_without_a_terminal_needs_yes(tmp_path: Path) -> None:
    done = headrace(
        "online-endpoint", "delete", "-n", "iris", home=home_of_a_dead_platform(tmp_path)
    )
    assert done.returncode == errors.USAGE
    assert "pass --yes" in done.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidInput("x"), 1),
        (errors.BadUsage("x"), 2),
        (NotFound("x"), 3),
        (errors.ApiError(404, "", "x"), 3),
        (Unauthorized("x"), 4),
        (Forbidden("x"), 4),
        (errors.ApiError(403, "", "x"), 4),
        (errors.OperationFailed("x"), 5),
        (Conflict("x"), 6),
        (errors.ApiError(409, "", "x"), 6),
        (errors.ApiError(429, "", "x"), 7),
        (errors.Unreachable("x"), 8),
        (Unavailable("x"), 8),
        (errors.WaitedTooLong("x"), 124),
        (errors.Detached("x"), 130),
        (errors.ApiError(424, "", "x"), 1),
    ],
)
def test_each_error_has_its_exit_code(error: HeadraceError, code: int) -> None:
    assert errors.exit_code_of(error) == code


def test_the_table_of_exit_codes_is_printed() -> None:
    text = headrace("help", "exit-codes").stdout
    assert [int(line.split()[0]) for line in text.splitlines()] == list(errors.EXIT_CODES)


def test_an_error_has_four_parts() -> None:
    error = errors.CommandError(
        "it broke", label="Code", detail="line 1\nline 2", hint="mend it", more="headrace x"
    )
    assert errors.parts(error).splitlines() == [
        "error: it broke   [Code]",
        "    line 1",
        "    line 2",
        "  hint: mend it",
        "  more: headrace x",
    ]


def test_no_to_a_question_is_an_answer_and_no_interrupt(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    try:
        os.write(ours, b"n\n")
        done = subprocess.run(
            [sys.executable, "-m", "headrace", "online-endpoint", "delete", "-n", "houses"],
            stdin=theirs,
            capture_output=True,
            text=True,
            timeout=120,
            env=os.environ | {"HEADRACE_HOME": str(tmp_path)},
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == errors.FAILED
    assert "nothing was deleted: you answered no" in done.stderr
