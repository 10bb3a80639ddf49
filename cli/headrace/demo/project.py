"""The user's folder the demo works in: a copy of an example, ready to be edited and kept."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import headrace
from headrace_api.errors import NotFound

WITH_BUILD = "regression"
WITHOUT_BUILD = "stdlib"
MAX_CONCURRENT = 8  # room for the demo's callers on each instance


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """Where the demo's YAML, code and models are."""

    folder: Path

    @property
    def endpoint(self) -> Path:
        return self.folder / "endpoint.yml"

    @property
    def request(self) -> Path:
        return self.folder / "sample-request.json"

    @property
    def train(self) -> Path:
        return self.folder / "train.py"

    @property
    def conda(self) -> Path:
        return self.folder / "conda.yml"

    def deployment(self, name: str, instances: int) -> Path:
        """The example's file for this deployment, sized for the demo."""
        source = yaml.safe_load((self.folder / f"{name}.yml").read_text())
        settings: dict[str, Any] = source.setdefault("request_settings", {})
        settings["max_concurrent_requests_per_instance"] = MAX_CONCURRENT
        settings["max_queue_wait_ms"] = 5_000
        source["instance_count"] = instances
        source["tags"] = (source.get("tags") or {}) | {"demo": "1"}
        file = self.folder / f"{name}.demo.yml"
        file.write_text(yaml.safe_dump(source, sort_keys=False))
        return file


def prepare(example: str, folder: Path) -> Project:
    """Copy the example to `folder`, over what an earlier demo left there.

    Raises NotFound when neither the checkout nor the installed package has it.
    """
    shutil.copytree(_examples() / example, folder, dirs_exist_ok=True)
    return Project(folder=folder)


def _examples() -> Path:
    package = Path(headrace.__file__).parent
    for place in (package / "examples", package.parents[1] / "examples"):
        if place.is_dir():
            return place
    raise NotFound("the examples are missing from this installation", hint="install Headrace again")


def pretty(body: str) -> str:
    """An answer on one short line."""
    try:
        text = json.dumps(json.loads(body))
    except ValueError:
        text = body
    return text if len(text) <= 60 else text[:57] + "…"
