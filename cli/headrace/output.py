"""How a result reaches stdout: JSON, YAML, a table, tabs, or nothing."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from headrace import errors
from headrace.settings import Settings

MAX_CELL_CHARS: Final = 60
_COLOURS: Final = {"key": "\x1b[34m", "text": "\x1b[32m", "plain": "\x1b[33m"}
_RESET: Final = "\x1b[0m"
_TOKEN: Final = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null|-?\d[\d.eE+-]*)\b')


def show(
    result: Any, settings: Settings, columns: Sequence[str] = (), things: str = "results"
) -> None:
    """Print a result as the settings ask; an empty table is told of `things` on stderr.

    Raises BadUsage on a query that is none.
    """
    if settings.query:
        result, columns = _query(result, settings.query), ()
    text = render(result, settings.format, columns)
    if text:
        click.echo(text)
    elif result == [] and settings.format == "table" and not settings.only_show_errors:
        click.echo(f"no {things}", err=True)


def render(result: Any, format: str, columns: Sequence[str] = ()) -> str:
    """The text without its final newline; empty for `none`."""
    match format:
        case "json":
            return json.dumps(result, indent=2, ensure_ascii=False)
        case "jsonc":
            return _coloured(json.dumps(result, indent=2, ensure_ascii=False))
        case "yaml" | "yamlc":
            return _yaml(result)
        case "table":
            return _table(result, columns)
        case "tsv":
            return "\n".join(_tsv(result))
        case "none":
            return ""
    raise errors.BadUsage(
        f"unknown output format {format!r}",
        hint="json, jsonc, yaml, yamlc, table, tsv or none; HEADRACE_OUTPUT sets the default",
    )


def in_colour() -> bool:
    """Whether stdout takes colour: a terminal, and no NO_COLOR."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _query(result: Any, expression: str) -> Any:
    import jmespath
    from jmespath.exceptions import JMESPathError

    try:
        return jmespath.search(expression, result)
    except JMESPathError as error:
        raise errors.BadUsage(f"--query {expression!r} is not JMESPath: {_why(error)}") from error


def _why(error: Exception) -> str:
    """The library's first line, without the expression that follows."""
    return str(error).splitlines()[0].partition(", for expression")[0]


def _yaml(result: Any) -> str:
    import yaml

    return yaml.safe_dump(result, sort_keys=False, allow_unicode=True).rstrip("\n")


def _coloured(text: str) -> str:
    if not in_colour():
        return text

    def paint(match: re.Match[str]) -> str:
        if match[1]:
            colour = _COLOURS["key" if match[2] else "text"]
            return f"{colour}{match[1]}{_RESET}{match[2] or ''}"
        return f"{_COLOURS['plain']}{match[3]}{_RESET}"

    return _TOKEN.sub(paint, text)


def _tsv(result: Any) -> list[str]:
    if isinstance(result, list):
        return [_tsv_line(row) for row in result]
    return [_tsv_line(result)]


def _tsv_line(row: Any) -> str:
    if isinstance(row, dict):
        return "\t".join(_tsv_cell(value) for value in row.values())
    if isinstance(row, list):
        return "\t".join(_tsv_cell(value) for value in row)
    return _tsv_cell(row)


def _tsv_cell(value: Any) -> str:
    if isinstance(value, dict | list):
        return str(len(value))
    return "" if value is None else _plain(value)


def _table(result: Any, columns: Sequence[str]) -> str:
    rows = result if isinstance(result, list) else [result]
    if not rows or result is None:
        return ""
    if not all(isinstance(row, dict) for row in rows):
        rows = [row if isinstance(row, dict) else {"result": row} for row in rows]
        columns = ()
    names = list(columns) or list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(_at(row, name)) for name in names] for row in rows]
    kept = [at for at in range(len(names)) if any(line[at] for line in cells)]
    titles = [_title(names[at]) for at in kept]
    lines = [[line[at] for at in kept] for line in cells]
    widths = [max(len(line[at]) for line in [titles, *lines]) for at in range(len(kept))]
    rule = ["-" * width for width in widths]
    return "\n".join(_line(line, widths) for line in [titles, rule, *lines])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _at(row: dict[str, Any], path: str) -> Any:
    found: Any = row
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _title(name: str) -> str:
    """As az has it: the first letter is a capital, those inside a name stay."""
    words = name.rpartition(".")[2].replace("_", " ")
    return words[:1].upper() + words[1:]


def _cell(value: Any) -> str:
    if value is None or value in ({}, []):
        return ""
    if isinstance(value, dict):
        plain = all(not isinstance(one, dict | list) for one in value.values())
        text = " ".join(f"{key}={_plain(one)}" for key, one in value.items()) if plain else "…"
    elif isinstance(value, list):
        text = ", ".join(map(_plain, value))
    else:
        text = _plain(value)
    # Ids are long because of their prefix; the tail is what tells them apart.
    if text.startswith("/subscriptions/"):
        text = "/".join(text.split("/")[9:])
    line = " ".join(text.split())
    is_address = line.startswith("http")
    return line if len(line) <= MAX_CELL_CHARS or is_address else line[: MAX_CELL_CHARS - 1] + "…"


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
