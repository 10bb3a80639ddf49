"""Writes docs/settings.md from the table of settings.

.venv/bin/python scripts/settings_page.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from headrace_api.settings.setting import Schema, Setting
from headrace_api.settings.table import SCHEMAS

PAGE: Final = Path(__file__).parents[1] / "docs" / "settings.md"
HEAD: Final = """# Settings

What becomes of each setting of each resource. Made by `scripts/settings_page.py` from the table by
which the command and the control API check (`headrace_api.settings`); a test holds that each key
of Azure's files and bodies is here.

* **applied**: it does what it says.
* **refused**: nothing is stored, and the message says why and what to do instead. What protects is
  refused until it works.
* **warned**: it is stored, and does not do here what it does on Azure. The command prints a
  warning; a client finds it in the answer, at `properties.properties["headrace.warning"]`, a line
  for each; `show` has it in `warnings`.
* **shown**: only read. A file or body may hold it, so that what was read can be sent back; it
  changes nothing.

Paths are those of the YAML files and of the ARM JSON: `*` stands for any name, `[]` for each item
of a list. A row of a block stands for all that is in it. A file with a key that is not here is
refused; a key of a body that is not here is warned of (endpoints, deployments) or kept and shown.

Batch endpoints, batch deployments, jobs, registries and connections are not offered yet: their
verbs exit with 2, and their paths are a 404. The single file of 2021 is told of in
[assets](assets.md).
"""


def render() -> str:
    """The page."""
    return "\n".join([HEAD, *(line for schema in SCHEMAS for line in _section(schema))])


def _section(schema: Schema) -> Iterator[str]:
    title = schema.name[0].upper() + schema.name[1:]
    yield f"## {title}\n"
    if schema.note:
        yield f"{schema.note}\n"
    told = [one for one in schema.settings if one.says]
    if told:
        yield "| YAML | ARM | what becomes of it | |"
        yield "|---|---|---|---|"
        for one in told:
            yield from _rows(one)
        yield ""
    names = [_path(one.key or one.wire) for one in schema.settings if not one.says]
    yield f"Shown: {', '.join(names)}.\n"


def _rows(setting: Setting) -> Iterator[str]:
    paths = f"{_path(setting.key)} | {_path(setting.wire)}"
    yield f"| {paths} | {setting.fate} | {_words(setting.says)} |"
    for case in setting.cases:
        yield f"| | | **{case.fate}** {case.when.words} | {_words(case.says)} |"


def _path(text: str) -> str:
    return f"`{text}`" if text else ""


def _words(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


if __name__ == "__main__":
    PAGE.write_text(render())
