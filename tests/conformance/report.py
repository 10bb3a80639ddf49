"""Writes down which of the client's operations pass, and why the others do not."""

from __future__ import annotations

from collections.abc import Iterable, Set
from pathlib import Path
from typing import Final

from conformance.sdk import REASONS, ROOT

DOCUMENT: Final[Path] = ROOT / "docs" / "conformance.md"
WHAT_WAS_RUN: Final[Path] = Path(__file__).parent / "fixtures" / "what_was_run.md"
HEAD: Final = """# Conformance with `azure-ai-ml`

Made by `HEADRACE_WRITE_DOCS=1 scripts/test tests/conformance/test_sdk.py`, which drives the
installed, unmodified package. Another host than the platform's own fails that test.
Configuration C (`AZUREML_DEV_URL_MFE`) runs in full; A and B a part, and all with `--full`.

"""


def render(operations: Iterable[str], passed: Set[str]) -> str:
    """The page; `operations` is every public one of the package's groups.

    What was run by hand, when and where, is told in a file beside the tests and put at the end.
    """
    listed = sorted(operations)
    count = len(passed & set(listed))
    lines = [f"**{count} of {len(listed)} operations pass.**", ""]
    lines += ["| operation | |", "|---|---|"]
    lines += [f"| `{one}` | {'passes' if one in passed else REASONS[one]} |" for one in listed]
    return HEAD + "\n".join(lines) + "\n\n" + WHAT_WAS_RUN.read_text()
