"""The repository's own scripts, as somebody runs them who only looks."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.mark.parametrize("name", ["chaos", "bench"])
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_installs_nothing(tmp_path: Path, name: str, option: str) -> None:
    """Piped to a pager that ends early it would cut an installation in the middle."""
    shutil.copytree(SCRIPTS, tmp_path / "scripts")

    done = subprocess.run(
        [str(tmp_path / "scripts" / name), option], capture_output=True, text=True, check=True
    )

    assert f"scripts/{name}" in done.stdout
    assert [one.name for one in tmp_path.iterdir()] == ["scripts"]
