"""Verbs of `headrace model`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from headrace import assets, edit
from headrace.call import Call
from headrace.errors import BadUsage
from headrace_api.views import model_view

if TYPE_CHECKING:
    from headrace_api.model import Model

KIND: Final = "models"
_MAY_CHANGE: Final = frozenset({"description", "tags", "flavors", "stage"})


def create(call: Call) -> Any:
    """Register a model from a file, or from --name and --path."""
    from headrace_api.model import Model

    values = assets.given(call, _FIELDS)
    if call.text("file"):
        model = edit.from_file(Model, call, values)
    else:
        model = Model.from_values(edit.edited(values, call), base=Path.cwd())
    if not model.name or not model.path:
        raise BadUsage("a model needs a name and a path", hint="--file, or --name and --path")
    return model_view(register(call, model))


def register(call: Call, model: Model) -> dict[str, Any]:
    """Upload what is local and put the version; returns its ARM resource.

    Without a version an identical latest one is taken again; without a name it is anonymous.
    """
    uri, digest = _uploaded(call, model)
    if not model.name:
        anonymous = assets.version_path(KIND, digest[:32], "1")
        found = call.client.find(anonymous)
        return found or _put(call, anonymous, model.to_arm(uri=uri, anonymous=True))
    if model.version is None and (same := _same_latest(call, model.name, uri)) is not None:
        return same
    path = assets.path_to_make(call.client, KIND, model.name, model.version)
    return _put(call, path, model.to_arm(uri=uri))


def show(call: Call) -> Any:
    return assets.show(call, KIND, model_view)


def list_all(call: Call) -> Any:
    return assets.list_all(call, KIND, model_view)


def update(call: Call) -> Any:
    return assets.update(call, KIND, model_view, _MAY_CHANGE)


_FIELDS: Final = ("name", "version", "path", "type", "description", "stage")


def _put(call: Call, path: str, body: dict[str, Any]) -> dict[str, Any]:
    arm: dict[str, Any] = call.client.put(path, body).json()
    return arm


def _uploaded(call: Call, model: Model) -> tuple[str, str]:
    """The address of the bytes, and a digest that names them."""
    if not model.is_local:
        import hashlib

        address = str(model.path)
        return address, hashlib.sha256(address.encode()).hexdigest()
    from headrace.upload import upload_model

    done = upload_model(call.client, Path(str(model.path)))
    call.say(f"  ✓ model {done.tree.root.name}  {done.tree.describe(cached=done.cached)}")
    return done.reference, done.tree.sha256


def _same_latest(call: Call, name: str, uri: str) -> dict[str, Any] | None:
    found = call.client.values(
        f"{KIND}/{name}/versions", **{"$orderBy": "createdtime desc", "$top": "1"}
    )
    if found and _tail(str(found[0]["properties"].get("modelUri"))) == _tail(uri):
        return found[0]
    return None


def _tail(uri: str) -> str:
    """The part that is the same in the short and the long form."""
    return uri.partition("/datastores/")[2] or uri.partition("//datastores/")[2] or uri


def download(call: Call) -> Any:
    return assets.download(call, KIND, "modelUri")
