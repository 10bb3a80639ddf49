"""Which files of a folder are uploaded: `.amlignore`, else `.gitignore`, with git's patterns."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headrace.errors import CommandError

IGNORE_FILES: Final = (".amlignore", ".gitignore")
ALWAYS: Final = frozenset({"__pycache__", ".git", ".ipynb_checkpoints"})
MAX_FILES: Final = 50_000
MAX_PATTERNS: Final = 2_000
_NOTHING: Final = re.compile(r"(?!)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One line of an ignore file."""

    pattern: re.Pattern[str]
    negated: bool
    folders_only: bool


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


def is_ignored(relative: str, rules: list[Rule], *, is_folder: bool) -> bool:
    """Whether the last rule that matches says so."""
    ignored = False
    for rule in rules:
        if (is_folder or not rule.folders_only) and rule.pattern.fullmatch(relative):
            ignored = not rule.negated
    return ignored


def parse_rules(text: str) -> list[Rule]:
    """Rules of an ignore file's text."""
    lines = [line.rstrip() for line in text.splitlines()[:MAX_PATTERNS]]
    return [_rule(line) for line in lines if line and not line.startswith("#")]


def _walk(root: Path, folder: Path, rules: list[Rule]) -> Iterator[Path]:
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


def _rules(root: Path) -> list[Rule]:
    for name in IGNORE_FILES:
        path = root / name
        if path.is_file():
            return parse_rules(path.read_text(encoding="utf-8", errors="replace"))
    return []


def _rule(line: str) -> Rule:
    negated = line.startswith("!")
    pattern = line.removeprefix("!")
    folders_only = pattern.endswith("/")
    pattern = pattern.rstrip("/")
    anchored = "/" in pattern
    expression = _expression(pattern.lstrip("/"))
    prefix = "" if anchored else "(?:.*/)?"
    try:
        compiled = re.compile(prefix + expression)
    except re.error:  # a class such as [z-a] matches nothing, as in git
        compiled = _NOTHING
    return Rule(pattern=compiled, negated=negated, folders_only=folders_only)


def _expression(pattern: str) -> str:
    """git's wildcards: `**` crosses folders, `*` and `?` do not."""
    # Doubled wildcards say no more than one, and would be tried in every division among them.
    pattern = re.sub(r"\*{2,}", "**", re.sub(r"(\*\*/){2,}", "**/", pattern))
    out, at = "", 0
    while at < len(pattern):
        if pattern.startswith("**/", at):
            out, at = out + "(?:.*/)?", at + 3
        elif pattern.startswith("**", at):
            out, at = out + ".*", at + 2
        elif (end := pattern.find("]", at + 2)) > 0 and pattern[at] == "[":
            inner = re.sub(r"([\\\[&~|])", r"\\\1", re.sub("-+", "-", pattern[at + 1 : end]))
            out, at = f"{out}[{'^' + inner[1:] if inner[0] == '!' else inner}]", end + 1
        else:
            single = {"*": "[^/]*", "?": "[^/]"}
            out, at = out + single.get(pattern[at], re.escape(pattern[at])), at + 1
    return out
