"""Which files of a folder are uploaded: `.amlignore`, else `.gitignore`, with git's patterns."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pathspec import GitIgnoreSpec

from headrace.errors import CommandError

IGNORE_FILES: Final = (".amlignore", ".gitignore")
ALWAYS: Final = frozenset({"__pycache__", ".git", ".ipynb_checkpoints"})
MAX_FILES: Final = 50_000
MAX_PATTERNS: Final = 2_000
_CLASSES: Final = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": " \t",
    "digit": "0-9",
    "lower": "a-z",
    "space": r" \t\n\r\f\v",
    "upper": "A-Z",
    "xdigit": "0-9a-fA-F",
}


def files_of(root: Path) -> list[Path]:
    """Files below a folder (or the file itself), in the order of their names.

    Raises CommandError when a link leaves the folder or there are too many files.
    """
    if root.is_file():
        return [root]
    rules, inside = _rules(root), root.resolve()
    found: list[Path] = []
    for path in _walk(root, root, rules):
        if not path.resolve().is_relative_to(inside):
            raise CommandError(
                f"{path} links to a place outside {root}", hint="copy the file, or ignore it"
            )
        found.append(path)
        if len(found) > MAX_FILES:
            raise CommandError(f"{root} contains more than {MAX_FILES} files", hint="pack them")
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def is_ignored(relative: str, rules: GitIgnoreSpec, *, is_folder: bool) -> bool:
    """Whether git would leave it out; `relative` has '/' between its parts."""
    return rules.match_file(f"{relative}/" if is_folder else relative)


def parse_rules(text: str) -> GitIgnoreSpec:
    """Rules of an ignore file's text; a line that is no pattern matches nothing, as in git."""
    lines = map(_plain, text.splitlines()[:MAX_PATTERNS])
    return GitIgnoreSpec.from_lines([line for line in lines if _is_pattern(line)])


def _plain(line: str) -> str:
    """The line without what the library does not know, or would try in every division."""
    for name, letters in _CLASSES.items():
        line = line.replace(f"[:{name}:]", letters)
    return re.sub(r"\*{3,}", "**", re.sub(r"(\*\*/){2,}", "**/", line))


def _is_pattern(line: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            GitIgnoreSpec.from_lines([line])
    except (ValueError, re.error, FutureWarning):
        return False
    return True


def _walk(root: Path, folder: Path, rules: GitIgnoreSpec) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        listed = list(entries)
    for entry in listed:
        path = Path(entry.path)
        relative = path.relative_to(root).as_posix()
        # A link to a folder is not followed: it may lead to itself.
        is_folder = entry.is_dir(follow_symlinks=False)
        if entry.name in ALWAYS or is_ignored(relative, rules, is_folder=is_folder):
            continue
        if is_folder:
            yield from _walk(root, path, rules)
        elif entry.is_file():
            yield path


def _rules(root: Path) -> GitIgnoreSpec:
    for name in IGNORE_FILES:
        path = root / name
        if path.is_file():
            return parse_rules(path.read_text(encoding="utf-8", errors="replace"))
    return parse_rules("")
