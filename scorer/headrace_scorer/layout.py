"""Folders as score.py sees them: AZUREML_MODEL_DIR, AML_APP_ROOT, and the worker's environment."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headrace_bus.wire.launch import Launch
from headrace_scorer.errors import LaunchRefused
from headrace_scorer.model_view import view

MODELS: Final = "azureml-models"
APP: Final = "azureml-app"
WORKER_COUNT: Final = "WORKER_COUNT"
MAX_WORKERS: Final = 64
SCORING_TIMEOUT: Final = "SCORING_TIMEOUT_MS"
SCORING_TIMEOUT_MS: Final = 3_600_000  # the original's default
# What programs need to run at all. Settings of package tools may hold an index address: not here.
_PASSED: Final = re.compile(
    r"PATH|HOME|USER|LOGNAME|LANG|LC_\w+|TZ|TMPDIR|XDG_CACHE_HOME|LD_LIBRARY_PATH"
    r"|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|(?i:https?|no)_(?i:proxy)|CUDA_VISIBLE_DEVICES"
)
_SAFE: Final = re.compile(r"[A-Za-z0-9][-_.A-Za-z0-9]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Folders:
    """Where the worker finds code and model, in the folder of the instance."""

    app_root: Path
    """The folder of the scoring script, which is also the working directory."""
    entry_script: str
    """The script's name in it."""
    model_dir: Path | None


def lay_out(launch: Launch, folder: Path, code: Path | None, model: Path | None) -> Folders:
    """Views of code and model with the path tails of the original; blocking."""
    uploaded = folder / APP
    model_dir = None
    if code is None:
        uploaded.mkdir(parents=True, exist_ok=True)
    else:
        # A copy of its own: scripts write beside themselves, and the assets are shared.
        shutil.rmtree(uploaded, ignore_errors=True)
        shutil.copytree(code, uploaded, copy_function=shutil.copyfile)
    if model is not None:
        name, version = launch.model_name or "model", launch.model_version or "1"
        for part in (name, version):
            if not _SAFE.fullmatch(part):
                raise LaunchRefused(f"model name or version {part!r} cannot be a folder")
        model_dir = folder / MODELS / name / version
        model_dir.parent.mkdir(parents=True, exist_ok=True)
        view(model, model_dir)
    script = uploaded / launch.scoring_script
    app_root = script.parent if launch.scoring_script else uploaded
    return Folders(
        app_root=app_root,
        entry_script=script.name if launch.scoring_script else "",
        model_dir=model_dir,
    )


def worker_environment(
    launch: Launch, folders: Folders, interpreter: Path, inherited: Mapping[str, str]
) -> dict[str, str]:
    """Variables of a worker: what every program needs, the user's, then the platform's."""
    found = {name: value for name, value in inherited.items() if _PASSED.fullmatch(name)}
    found["PATH"] = f"{interpreter.parent}{os.pathsep}{found.get('PATH', os.defpath)}"
    found["VIRTUAL_ENV"] = str(interpreter.parent.parent)
    found.update(launch.environment_variables)
    found["AML_APP_ROOT"] = str(folders.app_root)
    found["AZUREML_ENTRY_SCRIPT"] = folders.entry_script
    if folders.model_dir is not None:
        found["AZUREML_MODEL_DIR"] = str(folders.model_dir)
    return found


def worker_count(launch: Launch) -> int:
    """WORKER_COUNT of the deployment, 1 to MAX_WORKERS. Raises LaunchRefused."""
    return _whole(launch, WORKER_COUNT, 1, MAX_WORKERS)


def scoring_timeout_ms(launch: Launch) -> int:
    """SCORING_TIMEOUT_MS of the deployment. Raises LaunchRefused."""
    return _whole(launch, SCORING_TIMEOUT, SCORING_TIMEOUT_MS, 7 * 24 * SCORING_TIMEOUT_MS)


def _whole(launch: Launch, name: str, default: int, most: int) -> int:
    text = launch.environment_variables.get(name, "").strip() or str(default)
    if text.isdecimal() and 1 <= int(text) <= most:
        return int(text)
    raise LaunchRefused(
        f"environment variable {name} is {text!r}: use a whole number from 1 to {most}", target=name
    )
