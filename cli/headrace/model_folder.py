"""What a model's folder holds, for the message of a script that looked for something else."""

from __future__ import annotations

import os
import re
from itertools import islice
from pathlib import Path
from typing import Final

MAX_NAMES: Final = 10
_LISTED: Final = "Files below AZUREML_MODEL_DIR"  # the scorer's own list, closer to the truth
_MISSING: Final = re.compile(
    r"(?:No such file or directory|FileNotFoundError)[^'\"]*['\"]([^'\"]+)"
)


def hint(failure: str, path: Path) -> str:
    """A line for failures about a missing file, else nothing."""
    match = _MISSING.search(failure)
    if match is None or not path.exists():
        return ""
    names = sorted(islice(_names(path), MAX_NAMES))
    import difflib

    wanted = match[1].replace("\\", "/").rpartition("/")[2]
    near = difflib.get_close_matches(wanted, names, n=1)
    guess = f"did you mean {near[0]}?" if near and near[0] != wanted else ""
    if _LISTED in failure:
        return guess
    return f"the model contains: {', '.join(names)}" + (f"   ({guess})" if guess else "")


def _names(path: Path) -> list[str]:
    return sorted(os.listdir(path)) if path.is_dir() else [path.name]
