"""`rawhttp`, `AMLRequest` and `AMLResponse` under both of their import names.

A really installed azureml-inference-server-http is left alone and used as it is. Flask is imported
only when the script asks for one of the classes: it costs 0.2 s at start.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from typing import Any, Callable, Final, TypeVar

from . import flask_shim

REAL: Final = "azureml_inference_server_http"
MODULES: Final = (REAL + ".api", "azureml.contrib.services")
RUN_FAILED: Final = "x-ms-run-function-failed"

F = TypeVar("F", bound=Callable[..., Any])
_state: dict[str, Any] = {"raw": False}


def rawhttp(function: F) -> F:
    """Ask for the whole request instead of its body."""
    _state["raw"] = True
    return function


def raw_requested() -> bool:
    """Whether the script decorated its `run` with ours or with the real `rawhttp`."""
    real = sys.modules.get(REAL + ".api.aml_request")
    return bool(_state["raw"] or getattr(real, "_rawHttpRequested", False))


def install() -> None:
    """Make both import names work; call it before the script is loaded."""
    if _found(REAL):
        _alias_real()
        return
    for parent in MODULES:
        _package(parent)
        _module(parent + ".aml_request", {"rawhttp": rawhttp})
        _module(parent + ".aml_response", {})


def flask_module() -> Any:
    """The user's Flask, or None."""
    if "flask" not in _state:
        try:
            import flask  # type: ignore[import-not-found,unused-ignore]  # the user's, if at all

            _state["flask"] = flask
        except ImportError:
            _state["flask"] = None
    return _state["flask"]


def request_class() -> Any:
    flask = flask_module()
    return flask_shim.Request if flask is None else _cached("AMLRequest", flask.Request)


def response_class() -> Any:
    flask = flask_module()
    return _cached("AMLResponse", flask_shim.Response if flask is None else flask.Response)


def _cached(name: str, base: Any) -> Any:
    if name not in _state:
        body = {"__init__": _fill} if name == "AMLResponse" else {}
        _state[name] = type(name, (base,), body)
    return _state[name]


def _fill(
    self: Any,
    message: Any,
    status_code: int,
    response_headers: Any = None,
    json_str: bool = False,
    run_function_failed: bool = False,
) -> None:
    headers = dict(response_headers or {})
    base: Any = type(self).__mro__[1]
    if message is None or json_str:
        text = json.dumps({} if message is None else message)
        base.__init__(self, text, status=status_code, mimetype="application/json")
    else:
        base.__init__(self, message, status=status_code)
        if "Content-Type" in headers:
            self.headers.remove("Content-Type")
    self.headers[RUN_FAILED] = str(run_function_failed)
    for name, value in headers.items():
        for one in str(value).split(","):
            self.headers.add(name, one.strip())


def _found(name: str) -> bool:
    if name in sys.modules:
        return True
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError, AttributeError):
        return False


def _alias_real() -> None:
    """The old name reaches the real modules, imported when first asked for."""
    _package(MODULES[1])
    for leaf in ("aml_request", "aml_response"):
        module = types.ModuleType(MODULES[1] + "." + leaf)
        module.__getattr__ = _forward(REAL + ".api." + leaf)  # type: ignore[method-assign]
        _register(module)


def _forward(target: str) -> Callable[[str], Any]:
    def lookup(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(importlib.import_module(target), name)

    return lookup


def _package(name: str) -> None:
    """Make sure the package and its parents can be imported; real ones stay as they are."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        one = ".".join(parts[:end])
        if not _found(one):
            module = types.ModuleType(one)
            module.__path__ = []
            _register(module)


def _module(name: str, values: dict[str, Any]) -> None:
    module = types.ModuleType(name)
    module.__dict__.update(values)
    module.__getattr__ = _classes  # type: ignore[method-assign]  # PEP 562
    _register(module)


def _classes(name: str) -> Any:
    if name == "AMLRequest":
        return request_class()
    if name == "AMLResponse":
        return response_class()
    raise AttributeError(name)


def _register(module: types.ModuleType) -> None:
    sys.modules[module.__name__] = module
    parent, _, leaf = module.__name__.rpartition(".")
    if parent:
        __import__(parent)
        setattr(sys.modules[parent], leaf, module)
