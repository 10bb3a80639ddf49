"""Verbs of `headrace data`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from headrace import assets, edit
from headrace.call import Call
from headrace.errors import BadUsage
from headrace_api.views import data_view

KIND: Final = "data"
_MAY_CHANGE: Final = frozenset({"description", "tags"})
_FIELDS: Final = ("name", "version", "path", "type", "description")


def create(call: Call) -> Any:
    """Register a file, a folder or an address, from a file or from --name and --path."""
    from headrace_api.data import Data

    values = assets.given(call, _FIELDS)
    if call.text("file"):
        data = edit.from_file(Data, call, values)
    else:
        data = Data.from_values(edit.edited(values, call), base=Path.cwd())
    if not data.name or not data.path:
        raise BadUsage("a data asset needs a name and a path", hint="--file, or --name and --path")
    uri = ""
    if data.is_local:
        from headrace.upload import upload_model

        done = upload_model(call.client, Path(data.path))
        call.say(f"  ✓ data {done.tree.root.name}  {done.tree.describe(cached=done.cached)}")
        uri = done.reference
    path = assets.path_to_make(call.client, KIND, data.name, data.version)
    return data_view(call.client.put(path, data.to_arm(uri=uri)).json())


def show(call: Call) -> Any:
    return assets.show(call, KIND, data_view)


def list_all(call: Call) -> Any:
    return assets.list_all(call, KIND, data_view)


def update(call: Call) -> Any:
    return assets.update(call, KIND, data_view, _MAY_CHANGE)


def download(call: Call) -> Any:
    return assets.download(call, KIND, "dataUri")
