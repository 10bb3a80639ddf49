"""House limits that no linter holds: sizes, circles, broad excepts, locks, private paths.

.venv/bin/python scripts/house.py    prints `file:line: what`; exit 1 when there is anything
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

MAX_FUNCTION_LINES: Final = 60
MAX_FILE_LINES: Final = 500
MAX_CLASS_LINES: Final = 250
MAX_CLASS_METHODS: Final = 25
STILL_LARGE: Final = frozenset(
    {"Channel", "Dispatch", "Gateway",
     "Serving"}
)  # fmt: skip
"""Classes over the limits until their rooms are regrouped."""
MIN_REASON_WORDS: Final = 2
"""Words a broad except's comment needs besides the linter's mark."""

_BROAD: Final = frozenset({"Exception", "BaseException"})
_PIN: Final = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)
_INDEX: Final = re.compile(
    r"https?://[\w.-]*(?:pypi|pythonhosted|devpi|artifactory)[\w.-]*"
    r"|--(?:extra-)?index-url[ =]\S*://|--find-links[ =]\S|--trusted-host[ =]\S"
)
# The client's own examples live in azureuser's home.
_SOMEONES_HOME: Final = re.compile(r"(?<![\w.}])/(?:home|Users)/(?!azureuser/)[a-z]\w*/")
_CITED: Final = re.compile(r"(?<![\w/*<-])[\w/.-]*\w\.md\b")
_MODULE_PATH: Final = re.compile(r"`((?:\w+/)+\w+\.py)`")
# These name rooms that are not built yet, the past, and modules of the Azure SDK.
_OTHER_MODULES: Final = (
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "docs/conformance.md",
    "docs/reference/",
)
_TEXT_SUFFIXES: Final = frozenset(
    {"", ".py", ".md", ".toml", ".lock", ".yml", ".yaml", ".json", ".sh", ".txt", ".cfg", ".conf"}
)


class Finding(NamedTuple):
    """One breach of a limit."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


def check_python(path: str, source: str) -> Iterator[Finding]:
    """Sizes and excepts of one module."""
    lines = source.splitlines()
    if len(lines) > MAX_FILE_LINES:
        yield Finding(path, len(lines), f"{len(lines)} lines, limit {MAX_FILE_LINES}: split it")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            if size > MAX_FUNCTION_LINES:
                what = f"{node.name}() has {size} lines, limit {MAX_FUNCTION_LINES}: split it"
                yield Finding(path, node.lineno, what)
        elif isinstance(node, ast.ClassDef):
            yield from _check_class(path, node)
        elif isinstance(node, ast.ExceptHandler):
            yield from _check_handler(path, node, lines[node.lineno - 1])


def _check_class(path: str, node: ast.ClassDef) -> Iterator[Finding]:
    if node.name in STILL_LARGE:
        return
    size = (node.end_lineno or node.lineno) - node.lineno + 1
    if size > MAX_CLASS_LINES:
        what = f"class {node.name} has {size} lines, limit {MAX_CLASS_LINES}: split it"
        yield Finding(path, node.lineno, what)
    methods = sum(isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) for one in node.body)
    if methods > MAX_CLASS_METHODS:
        what = f"class {node.name} has {methods} methods, limit {MAX_CLASS_METHODS}: split it"
        yield Finding(path, node.lineno, what)


def _check_handler(path: str, node: ast.ExceptHandler, line: str) -> Iterator[Finding]:
    if node.type is None:
        yield Finding(path, node.lineno, "bare except: name what is expected")
        return
    named = {each.id for each in ast.walk(node.type) if isinstance(each, ast.Name)}
    reraises = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
    if named & _BROAD and not reraises and not _has_reason(line):
        yield Finding(path, node.lineno, "broad except without its reason in a comment beside it")


def _has_reason(line: str) -> bool:
    comment = line.partition("#")[2]
    words = re.sub(r"noqa:\s*[A-Z0-9, ]+?(?=\s[^A-Z]|$)", "", comment)
    return len(re.findall(r"[A-Za-z]{2,}", words)) >= MIN_REASON_WORDS


def check_circles(sources: Mapping[str, str]) -> Iterator[Finding]:
    """Modules that import one another, lazily or for types alone too; `sources` is by module."""
    graph = {
        name: sorted(imported_modules(source) & (sources.keys() - {name}))
        for name, source in sources.items()
    }
    for circle in _circles(graph):
        what = f"import circle: {' > '.join([*circle, circle[0]])}"
        yield Finding(circle[0], 1, what)


def imported_modules(source: str) -> set[str]:
    """Every absolute name that the source imports, wherever it does."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def _circles(graph: Mapping[str, list[str]]) -> Iterator[list[str]]:
    """One circle a group of modules that reach each other."""
    reached = {name: _reachable(graph, name) for name in graph}
    seen: set[str] = set()
    for name in sorted(graph):
        if name in seen or name not in reached[name]:
            continue
        circle = sorted(one for one in reached[name] if name in reached[one])
        seen |= set(circle)
        yield circle


def _reachable(graph: Mapping[str, list[str]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += graph[name]
    return found


def product_modules(root: Path) -> dict[str, str]:
    """Source by dotted name of each module of the packages, without tests and benches."""
    folders = tomllib.loads((root / "pyproject.toml").read_text())
    roots = folders["tool"]["hatch"]["build"]["dev-mode-dirs"]
    found = {}
    for path in tracked(root):
        parts = path.relative_to(root).with_suffix("").parts
        if path.suffix == ".py" and parts[0] in roots:
            names = parts[1:-1] if parts[-1] == "__init__" else parts[1:]
            found[".".join(names)] = path.read_text(encoding="utf-8")
    return found


def check_text(path: str, text: str, private: tuple[str, ...]) -> Iterator[Finding]:
    """Folders of one machine and package indexes; `private` are the folders of this machine."""
    for number, line in enumerate(text.splitlines(), 1):
        if match := _INDEX.search(line):
            yield Finding(path, number, f"package index {match.group()!r}: leave it to the machine")
        elif match := _SOMEONES_HOME.search(line):
            yield Finding(path, number, f"folder {match.group()!r} exists on one machine only")
        elif folder := next((each for each in private if each in line), None):
            yield Finding(path, number, f"folder {folder!r} exists on this machine only")


def check_citations(path: str, text: str, pages: frozenset[str]) -> Iterator[Finding]:
    """Whoever reads a citation must have the page: `pages` are those of the repository, by name."""
    for number, line in enumerate(text.splitlines(), 1):
        for match in _CITED.finditer(line):
            if match.group().rpartition("/")[2] not in pages:
                what = f"{match.group()} is cited and not in the repository"
                yield Finding(path, number, what)


def check_module_paths(path: str, text: str, modules: tuple[str, ...]) -> Iterator[Finding]:
    """A page names modules by a path, or its end, that exists: `modules` are the repository's."""
    for number, line in enumerate(text.splitlines(), 1):
        for named in _MODULE_PATH.findall(line):
            if not any(f"/{module}".endswith(f"/{named}") for module in modules):
                yield Finding(path, number, f"{named} is named and not in the repository")


def check_locks(project: str, runtime: str, dev: str) -> Iterator[Finding]:
    """Every requirement of pyproject.toml is pinned to a version it allows, alike in both locks."""
    table = tomllib.loads(project)
    groups = table.get("dependency-groups", {})
    direct: list[str] = table["project"]["dependencies"]
    pins = {"requirements.lock": dict(_pins(runtime)), "requirements-dev.lock": dict(_pins(dev))}
    wanted = {
        "requirements.lock": [*direct, *_group(groups, "build")],
        "requirements-dev.lock": [*direct, *_group(groups, "dev")],
    }
    for lock, requirements in wanted.items():
        for requirement in map(Requirement, requirements):
            pin = pins[lock].get(canonicalize_name(requirement.name))
            if pin is None or not requirement.specifier.contains(pin, prereleases=True):
                yield Finding(lock, 1, f"{requirement} is pinned to {pin}: run scripts/lock")
    for name, pin in pins["requirements.lock"].items():
        other = pins["requirements-dev.lock"].get(name)
        if other != pin:
            what = f"{name} is {other}, requirements.lock has {pin}: run scripts/lock"
            yield Finding("requirements-dev.lock", 1, what)


def _pins(lock: str) -> Iterator[tuple[str, str]]:
    for name, version in _PIN.findall(lock):
        yield canonicalize_name(name), version


def _group(groups: dict[str, list[str | dict[str, str]]], name: str) -> Iterator[str]:
    for entry in groups.get(name, []):
        if isinstance(entry, str):
            yield entry
        else:
            yield from _group(groups, entry["include-group"])


def private_folders(root: Path) -> tuple[str, ...]:
    """Folders that must not be named in the repository: the checkout, its parent, the home."""
    shared = {Path("/"), Path(tempfile.gettempdir()), Path("/tmp"), Path("/app"), Path("/src")}
    folders = {root, root.parent, Path.home()} - shared
    return tuple(sorted((f"{folder}/" for folder in folders), key=len, reverse=True))


def tracked(root: Path) -> list[Path]:
    """Files of the repository, new ones included. CalledProcessError outside a git checkout."""
    # A checkout made by another user is still ours to read.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    paths = (root / name for name in listed.split("\0") if name)
    return sorted(path for path in paths if path.is_file() and not path.is_symlink())


def check_tree(root: Path) -> Iterator[Finding]:
    """Everything above, over one checkout."""
    private = private_folders(root)
    pages = frozenset(path.name for path in tracked(root) if path.suffix == ".md")
    modules = tuple(
        path.relative_to(root).as_posix() for path in tracked(root) if path.suffix == ".py"
    )
    for path in tracked(root):
        name = path.relative_to(root).as_posix()
        if path.suffix not in _TEXT_SUFFIXES or "/fixtures/" in name:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        if path.suffix == ".py":
            yield from check_python(name, text)
        yield from check_text(name, text, private)
        if path.suffix in (".py", ".md") and not name.startswith("docs/reference/"):
            yield from check_citations(name, text, pages)
        if path.suffix == ".md" and not name.startswith(_OTHER_MODULES):
            yield from check_module_paths(name, text, modules)
    yield from check_circles(product_modules(root))
    locks = ("pyproject.toml", "requirements.lock", "requirements-dev.lock")
    yield from check_locks(*((root / name).read_text() for name in locks))


def main() -> int:
    findings = list(check_tree(Path(__file__).resolve().parents[1]))
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
