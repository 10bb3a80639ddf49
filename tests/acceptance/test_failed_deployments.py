"""A deployment that cannot start: exit 5, the user's own words, and what serves goes on serving."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support.deploy import Workbench
from support.platform import Platform, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
SOUND = "def init():\n    pass\n\n\ndef run(raw):\n    return raw\n"
RAISES = "def init():\n    price = {}\n    price['houses']\n\n\ndef run(raw):\n    return raw\n"
CRASHES = f"import os\n\nprint('last words', flush=True)\nos._exit(17)\n{SOUND}"
ENDLESS = "import time\n\n\ndef init():\n    time.sleep(600)\n\n\ndef run(raw):\n    return raw\n"
AT_ONCE = 6  # most of a failed start is waiting
Done = subprocess.CompletedProcess[str]
QUICK_PROBE: dict[str, Any] = {
    "readiness_probe": {"initial_delay": 1, "period": 1, "timeout": 1, "failure_threshold": 1}
}
# Time enough to start Python and die, on a busy machine too.
PATIENT_PROBE: dict[str, Any] = {
    "readiness_probe": {"initial_delay": 10, "period": 1, "timeout": 1, "failure_threshold": 1}
}


@pytest.fixture(scope="module")
def serving(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    """An endpoint whose `blue` takes all traffic; each test adds a deployment that fails."""
    bench = Workbench(platform, tmp_path_factory.mktemp("files"))
    bench.endpoint("shop")
    bench.deploy("shop", "blue", "patient")
    yield bench
    bench.clean()


def create(bench: Workbench, name: str, script: str | None, *, code: int = 5, **more: Any) -> Done:
    """Deploy `name` with this text as its score.py, which is expected to fail."""
    file = bench.deployment_file("shop", name, "patient", **more)
    score = bench.folder / f"shop-{name}-code" / "score.py"
    score.unlink() if script is None else score.write_text(script)
    done = bench.platform.run("online-deployment", "create", "-f", str(file), code=code)
    assert "Traceback" not in done.stderr or "score.py" in done.stderr, done.stderr
    return done


def conda(bench: Workbench, name: str, *, python: str = "", package: str = "") -> dict[str, Any]:
    wanted: list[object] = [f"python={python}"] if python else []
    wanted += ["pip", {"pip": [package]}] if package else []
    file = bench.write(f"{name}-conda.yml", {"name": name, "dependencies": wanted})
    return {"environment": {"conda_file": file.name}}


@pytest.fixture(scope="module")
def failed(serving: Workbench) -> dict[str, Done]:
    """What `create` said of each deployment that fails; all beside one another."""
    package = conda(serving, "nopackage", package="headrace-no-such-package==9.9.9")
    attempts: dict[str, tuple[str, dict[str, Any]]] = {
        "nopackage": (SOUND, package),
        "nopython": (SOUND, conda(serving, "nopython", python="3.5")),
        "raises": (RAISES, {}),
        "imports": ("import nothing_of_this_name\n" + SOUND, {}),
        "crashes": (CRASHES, PATIENT_PROBE),
        "slow": (ENDLESS, QUICK_PROBE),
    }
    with ThreadPoolExecutor(AT_ONCE) as threads:
        started = {
            name: threads.submit(create, serving, name, script, **more)
            for name, (script, more) in attempts.items()
        }
        return {name: one.result() for name, one in started.items()}


def still_serves(bench: Workbench, done: Done, name: str) -> None:
    """Both in words and in fact; the record says Failed, and nothing is left running."""
    assert "traffic is unchanged: blue 100 %" in done.stderr, done.stderr
    request = bench.write("request.json", {"kept": True})
    words = ["online-endpoint", "invoke", "-n", "shop", "--request-file", str(request)]
    assert '"kept": true' in bench.platform.run(*words).stdout
    shown = bench.platform.json("online-deployment", "show", "-e", "shop", "-n", name)
    assert shown["provisioning_state"].lower() == "failed"
    until(lambda: not bench.platform.scorers("shop", name), "the end of its instances")
    bench.platform.run("online-deployment", "delete", "-e", "shop", "-n", name, "-y")


def test_a_package_that_does_not_exist_is_told_in_the_resolvers_words(
    serving: Workbench, failed: dict[str, Done]
) -> None:
    done = failed["nopackage"]
    assert "[ImageBuildFailure]" in done.stderr
    assert "headrace-no-such-package" in done.stderr
    assert "Using Python" not in done.stderr, "what uv says before it works is no reason"
    assert "✗ environment" in done.stderr
    still_serves(serving, done, "nopackage")


def test_an_interpreter_that_is_not_there_is_named(
    serving: Workbench, failed: dict[str, Done]
) -> None:
    done = failed["nopython"]
    assert "[ImageBuildFailure]" in done.stderr
    assert "needs Python ==3.5.*, and workers run on 3.8 or later" in done.stderr
    assert "hint: change the version in the conda file" in done.stderr, "the scorer's own hint"
    waited = serving.platform.run(
        "online-deployment", "wait", "-e", "shop", "-n", "nopython", code=None
    )
    assert "hint: change the version in the conda file" in waited.stderr
    still_serves(serving, done, "nopython")


def test_init_that_raises_shows_its_traceback_and_the_models_folder(
    serving: Workbench, failed: dict[str, Done]
) -> None:
    done = failed["raises"]
    assert "failed in init()" in done.stderr
    assert 'score.py", line 3, in init' in done.stderr
    assert "KeyError: 'houses'" in done.stderr
    assert "✗ load" in done.stderr
    assert "get-logs" in done.stderr
    logs = serving.platform.run("online-deployment", "get-logs", "-e", "shop", "-n", "raises")
    assert "KeyError: 'houses'" in logs.stdout
    still_serves(serving, done, "raises")


def test_a_script_that_cannot_be_imported_shows_why(
    serving: Workbench, failed: dict[str, Done]
) -> None:
    done = failed["imports"]
    assert "No module named 'nothing_of_this_name'" in done.stderr
    assert "line 1" in done.stderr
    assert "✗ load" in done.stderr
    still_serves(serving, done, "imports")


def test_a_script_that_can_be_no_scoring_script_is_not_sent(serving: Workbench) -> None:
    done = create(serving, "syntax", "def init(:\n    pass\n", code=1)
    assert "score.py is not valid Python" in done.stderr


def test_a_script_without_run_is_warned_of_and_then_told_by_the_worker(serving: Workbench) -> None:
    done = create(serving, "norun", "def init():\n    pass\n")
    assert "warning: score.py defines no run()" in done.stderr
    assert "does not have a run() function defined" in done.stderr


def test_a_process_that_dies_before_it_is_ready_is_said_to_have_died(
    serving: Workbench, failed: dict[str, Done]
) -> None:
    done = failed["crashes"]
    assert "the worker process exited" in done.stderr
    logs = serving.platform.run("online-deployment", "get-logs", "-e", "shop", "-n", "crashes")
    assert "last words" in logs.stdout
    still_serves(serving, done, "crashes")


def test_an_init_that_never_ends_is_given_up_by_the_readiness_probe(
    serving: Workbench, failed: dict[str, Done]
) -> None:
    done = failed["slow"]
    assert "init() did not end within the 2 s that readiness_probe allows" in done.stderr
    still_serves(serving, done, "slow")


def test_a_missing_script_or_model_is_refused_before_anything_is_sent(
    serving: Workbench, tmp_path: Path
) -> None:
    done = create(serving, "noscript", None, code=1)
    assert "score.py" in done.stderr
    done = create(serving, "nomodel", SOUND, code=1, model={"path": "nowhere/model.pkl"})
    assert "nowhere/model.pkl" in done.stderr
    names = {
        one["name"] for one in serving.platform.json("online-deployment", "list", "-e", "shop")
    }
    assert names.isdisjoint({"noscript", "nomodel"})


def test_a_failed_update_leaves_the_old_version_serving_and_says_so(serving: Workbench) -> None:
    file = serving.deployment_file("shop", "blue", "patient")
    script = serving.folder / "shop-blue-code" / "score.py"
    sound = script.read_text()
    before = serving.platform.scorers("shop", "blue")
    script.write_text("raise RuntimeError('version 2 is broken')\n" + sound)
    update = ["online-deployment", "update", "-f", str(file)]
    done = serving.platform.run(*update, code=5)
    assert "version 2 is broken" in done.stderr
    until(lambda: serving.platform.scorers("shop", "blue") == before, "the new one to be gone")

    script.write_text(sound)
    serving.platform.run(*update)
    shown = serving.platform.json("online-deployment", "show", "-e", "shop", "-n", "blue")
    assert shown["provisioning_state"].lower() == "succeeded"


SLOW = "import time\n\n\ndef init():\n    time.sleep(4)\n\n\ndef run(raw):\n    return raw\n"


def test_the_same_command_after_a_ctrl_c_waits_for_the_start_that_goes_on(
    serving: Workbench,
) -> None:
    """Else it would say `unchanged` at once, and give all traffic to what cannot answer yet."""
    file = serving.deployment_file("shop", "later", "patient")
    (serving.folder / "shop-later-code" / "score.py").write_text(SLOW)
    words = ["online-deployment", "create", "-f", str(file)]
    serving.platform.run(*words, "--no-wait")
    shown = serving.platform.json(*words)
    assert shown["provisioning_state"] == "Succeeded"
    serving.platform.run("online-deployment", "delete", "-e", "shop", "-n", "later", "-y")

    (serving.folder / "shop-later-code" / "score.py").write_text(
        SLOW.replace("time.sleep(4)", "time.sleep(2)\n    raise RuntimeError('no good')")
    )
    serving.platform.run(*words, "--no-wait")
    failed = serving.platform.run(*words, code=5)
    assert "RuntimeError: no good" in failed.stderr
    assert "traffic is unchanged: blue 100 %" in failed.stderr
    wait = ["online-deployment", "wait", "-e", "shop", "-n", "later"]
    assert "RuntimeError: no good" in serving.platform.run(*wait, code=5).stderr
    serving.platform.run("online-deployment", "delete", "-e", "shop", "-n", "later", "-y")
