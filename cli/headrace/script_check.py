"""The static look at a scoring script before anything is uploaded."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

from headrace.errors import CommandError

MAX_SCRIPT_BYTES: Final = 4 * 1024 * 1024
EVERYTHING: Final = "*"  # what `from x import *` binds
_NEEDED: Final = ("init", "run")
_SKIP: Final = "--skip-script-validation skips this check"


def check_script(path: Path) -> str:
    """What to warn of, empty when nothing. Raises CommandError when the script does not parse.

    A missing `run` is only a warning: decorators and imports may bind names that no look can see.
    """
    source = path.read_bytes()[: MAX_SCRIPT_BYTES + 1]
    if len(source) > MAX_SCRIPT_BYTES:
        raise CommandError(f"{path} is larger than {MAX_SCRIPT_BYTES} bytes", hint=_SKIP)
    try:
        tree = ast.parse(source, filename=path.name)
    except (SyntaxError, ValueError) as error:
        raise CommandError(
            f"{path.name} is not valid Python: {_where(error)}",
            label="ScriptValidation",
            hint=_SKIP,
        ) from None
    names = _names(tree.body)
    missing = [] if EVERYTHING in names else [name for name in _NEEDED if name not in names]
    if not missing:
        return ""
    lacking = " and no ".join(f"{name}()" for name in missing)
    return f"{path.name} defines no {lacking}; a scoring script needs init() and run()"


def _where(error: SyntaxError | ValueError) -> str:
    """With its line: `line 3: invalid syntax`."""
    if isinstance(error, SyntaxError) and error.lineno:
        return f"line {error.lineno}: {error.msg}"
    return str(error)


def _names(body: list[ast.stmt]) -> set[str]:
    """What the module's top level binds, also below `if` and `try` and by import."""
    names: set[str] = set()
    for statement in body:
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.ClassDef():
                pass
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names |= {alias.asname or alias.name for alias in aliases}
            case ast.Assign(targets=targets):
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case ast.If() | ast.Try() | ast.With():
                for field in ("body", "orelse", "finalbody"):
                    names |= _names(getattr(statement, field, []))
    return names
