"""Writes down which of the client's operations pass, and why the others do not."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from conformance.misses import MISSES, PARTLY, Miss, Seen
from conformance.sdk import ROOT

DOCUMENT: Final[Path] = ROOT / "docs" / "conformance.md"
WHAT_WAS_RUN: Final[Path] = Path(__file__).parent / "fixtures" / "what_was_run.md"
CONFIGURATIONS: Final = {
    "A": "keyword arguments (`cloud_metadata`)",
    "B": "`ARM_CLOUD_METADATA_URL`",
    "C": "`AZUREML_DEV_URL_MFE`",
}
HEAD: Final = """# Conformance with `azure-ai-ml`

Made by `HEADRACE_WRITE_DOCS=1 scripts/test tests/conformance/test_sdk.py`, which drives the
installed, unmodified package. Another host than the platform's own fails that test, save where
the table says so. C runs in full, A and B a part, and all of them with `--full`; each run holds
that exactly these operations pass, and that the others fail in exactly the way that is told.

"""


def render(operations: Iterable[str]) -> str:
    """The page; `operations` is every public one of the package's groups.

    What was run by hand, when and where, is told in a file beside the tests and put at the end.
    """
    listed = sorted(operations)
    passing = len(set(listed) - set(MISSES))
    lines = ["| configuration | operations that pass |", "|---|---|"]
    lines += [
        f"| {name}: {how} | **{passing} of {len(listed)}** |"
        for name, how in CONFIGURATIONS.items()
    ]
    lines += ["", "`{W}` is the path of the workspace.", "", "| operation | |", "|---|---|"]
    lines += [f"| `{one}` | {_words(one)} |" for one in listed]
    return HEAD + "\n".join(lines) + "\n\n" + WHAT_WAS_RUN.read_text()


def _words(operation: str) -> str:
    if operation in MISSES:
        return _why(MISSES[operation])
    if operation in PARTLY:
        return f"passes; {_why(PARTLY[operation])}"
    return "passes"


def _why(miss: Miss) -> str:
    seen = [_told(miss.seen)]
    seen += [f"in {name} {_told(one)}" for name, one in sorted(miss.elsewhere.items())]
    return f"{miss.reason}. {'; '.join(seen)}"


def _told(seen: Seen) -> str:
    if seen.stranger:
        return f"it asks another host: `{seen.asked}`"
    error = f"`{seen.error}`: {seen.says}"
    return f"`{seen.asked}` ends in {error}" if seen.asked else f"Ends in {error}"
