"""The static look at a scoring script before anything is uploaded."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

from headrace.errors import CommandError

MAX_SCRIPT_BYTES: Final = 4 * 1024 * 1024
_NEEDED: Final = ("init", "run")
_SKIP: Final = "--skip-script-validation skips this check"


def check_script(path: Path) -> None:
    """Raises CommandError when the script does not parse, or lacks `init` or `run`."""
    source = path.read_bytes()[: MAX_SCRIPT_BYTES + 1]
    if len(source) > MAX_SCRIPT_BYTES:
        raise CommandError(f"{path} is larger than {MAX_SCRIPT_BYTES} bytes", hint=_SKIP)
    try:
        tree = ast.parse(source, filename=path.name)
    except (SyntaxError, ValueError) as error:
        raise CommandError(
            f"{path.name} is not valid Python: {error}", label="ScriptValidation", hint=_SKIP
        ) from None
    missing = [name for name in _NEEDED if name not in _names(tree.body)]
    if missing:
        raise CommandError(
            f"{path.name} has no {' and no '.join(f'{name}()' for name in missing)}",
            label="ScriptValidation",
            detail="define init(), called once, and run(), called for each request",
            hint=_SKIP,
        )


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
            case ast.If() | ast.Try() | ast.With():
                for field in ("body", "orelse", "finalbody"):
                    names |= _names(getattr(statement, field, []))
    return names
