"""The user's score.py: loaded, checked, and called with what it asks for."""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from typing import Any, Final

from . import aml_http, batching, frames, inputs
from .console import log

LISTING_LINES: Final = 200  # of the model folder, shown when init fails
_OWN_FOLDER: Final = os.path.dirname(os.path.abspath(__file__))
_ENTRY_FOLDER: Final = os.path.join(_OWN_FOLDER, "entry")  # where child processes find the script


class ScriptError(Exception):
    """The script cannot serve; `phase` is import, contract or init."""

    def __init__(self, phase: str, message: str) -> None:
        super().__init__(message)
        self.phase = phase


class Script:
    """A loaded script: `init`, `run`, how its input is read, whether `run` is asynchronous."""

    def __init__(self, module: types.ModuleType) -> None:
        batching.adopt(module)
        for name in ("init", "run"):
            if not hasattr(module, name):
                raise ScriptError(
                    "contract",
                    "User script at %s does not have a %s() function defined."
                    % (module.__file__, name),
                )
        self.init = module.init
        driver = getattr(module, "driver_module", None)
        real = isinstance(driver, types.ModuleType) and hasattr(driver, "run")
        self.run: Callable[..., Any] = driver.run if real else module.run  # type: ignore[union-attr]
        self.decorated = _schema_decorated(self.run)
        parameters = _parameters(self.run)
        self.wants_headers = any(one.name == "request_headers" for one in parameters)
        self.read = self._reader([one for one in parameters if one.name != "request_headers"])
        self.asynchronous = _is(inspect.iscoroutinefunction, self.run) or _is(
            inspect.isasyncgenfunction, self.run
        )
        self.batch = batching.of(self.run)
        if self.batch is not None and (self.asynchronous or self.wants_headers):
            raise ScriptError(
                "contract", "a batched run() is an ordinary function of one list, and nothing else."
            )

    def _reader(
        self, parameters: list[inspect.Parameter]
    ) -> Callable[[frames.Call], dict[str, Any]]:
        if not parameters:
            other = ' other than "request_headers"' if self.wants_headers else " for input data"
            raise ScriptError("contract", "run() needs to accept an argument%s." % other)
        raw = aml_http.raw_requested()
        if raw and self.decorated:
            raise ScriptError(
                "contract", "run() cannot be decorated with both @rawhttp and @input_schema"
            )
        if raw:
            return inputs.raw_input(parameters[0].name)
        if self.decorated:
            return inputs.schema_input(parameters)
        return inputs.text_input(parameters[0].name)


def load(app_root: str, entry: str) -> Script:
    """Import the script. Raises ScriptError, or what the script itself raises."""
    path = os.path.join(app_root, entry)
    if not os.path.isfile(path):
        raise ScriptError("import", "scoring script %r is not in the code folder" % entry)
    sys.path += [_ENTRY_FOLDER, app_root]
    spec = importlib.util.spec_from_file_location("entry_module", path)
    if spec is None or spec.loader is None:
        raise ScriptError("import", "scoring script %r is not a Python file" % entry)
    module = importlib.util.module_from_spec(spec)
    # Registered, so that classes of the script can be pickled and dataclasses find their module.
    sys.modules["entry_module"] = module
    spec.loader.exec_module(module)
    log.info("Found user script at %s", path)
    return Script(module)


def report(error: BaseException, phase: str, model_dir: str) -> dict[str, Any]:
    """What the scorer tells of a script that does not start."""
    return {
        "phase": getattr(error, "phase", phase),
        "type": type(error).__name__,
        "message": str(error),
        "traceback": user_traceback(error),
        "listing": listing(model_dir),
    }


def user_traceback(error: BaseException) -> str:
    """The traceback from the first frame that is not ours."""
    at = error.__traceback__
    while at is not None and _ours(at.tb_frame.f_code.co_filename):
        at = at.tb_next
    return "".join(traceback.format_exception(type(error), error, at)).rstrip()


def listing(folder: str) -> list[str]:
    """Files below the model folder, relative, at most LISTING_LINES lines."""
    lines: list[str] = []
    for line in _walk(folder) if folder and os.path.isdir(folder) else ():
        if len(lines) == LISTING_LINES:
            lines.append("Output Truncated. First %d lines shown." % LISTING_LINES)
            break
        lines.append(line)
    return lines


def _walk(folder: str) -> Iterator[str]:
    for root, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            yield os.path.relpath(os.path.join(root, name), folder)


def _ours(filename: str) -> bool:
    return filename.startswith((_OWN_FOLDER, "<frozen importlib", "<string>"))


def _parameters(run: Callable[..., Any]) -> list[inspect.Parameter]:
    parameters = list(inspect.signature(run).parameters.values())
    allowed = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if any(one.kind not in allowed for one in parameters):
        raise ScriptError(
            "contract", "run() cannot accept positional-only arguments, *args, or **kwargs."
        )
    return parameters


def _schema_decorated(run: Callable[..., Any]) -> bool:
    """Only a script that imported inference-schema can be decorated by it."""
    if "inference_schema" not in sys.modules:
        return False
    from inference_schema.schema_util import (  # type: ignore[import-not-found,unused-ignore]
        is_schema_decorated,
    )

    return bool(is_schema_decorated(run))


def _is(check: Callable[[Any], bool], run: Callable[..., Any]) -> bool:
    return check(run) or check(inspect.unwrap(run))
