"""What `run` is called with: the body as text, schema parameters, or the whole request."""

from __future__ import annotations

import inspect
import io
import json
import sys
from collections.abc import Callable
from typing import Any, Dict
from urllib.parse import parse_qsl

from . import aml_http, flask_shim
from .console import log
from .frames import Call

Arguments = Dict[str, Any]


class Refused(Exception):
    """The request cannot be given to `run`: an HTTP status and a sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def header(call: Call, name: str) -> str:
    for one, value in call.headers:
        if one == name:
            return value
    return ""


def mimetype(call: Call) -> str:
    return header(call, "content-type").split(";")[0].strip().lower()


def titled(call: Call) -> dict[str, str]:
    """Headers as `request_headers` carries them."""
    return {name.title(): value for name, value in call.headers}


def text_input(parameter: str) -> Callable[[Call], Arguments]:
    """An undecorated `run(raw)`: the body as str, or the query as a JSON object."""

    def read(call: Call) -> Arguments:
        if call.method == "GET":
            return {parameter: json.dumps(query_values(call.query))}
        _only_post(call)
        if flask_shim.is_form(mimetype(call)):
            # The original lets its web framework swallow a form before `run` sees it.
            log.warning("run() gets an empty string: the Content-Type is a form, not JSON")
            return {parameter: ""}
        try:
            return {parameter: call.body.decode("utf-8")}
        except UnicodeDecodeError as error:
            raise Refused(400, "Input cannot be decoded as UTF-8: %s" % error) from None

    return read


def schema_input(parameters: list[inspect.Parameter]) -> Callable[[Call], Arguments]:
    """A `run` with @input_schema: one JSON object whose keys are the parameters."""

    def read(call: Call) -> Arguments:
        if call.method == "GET":
            return _pick(query_values(call.query), parameters)
        _only_post(call)
        if not flask_shim.is_json(mimetype(call)):
            raise Refused(415, "Expects Content-Type to be application/json")
        return _pick(_json_object(call.body), parameters)

    return read


def raw_input(parameter: str) -> Callable[[Call], Arguments]:
    """A `run` with @rawhttp: the user's own Flask request, or the look-alike."""
    flask = aml_http.flask_module()
    kind = flask.Request if flask is not None else None

    def read(call: Call) -> Arguments:
        if kind is None:
            pairs = [(name.title(), value) for name, value in call.headers]
            request = flask_shim.Request(call.method, call.path, call.query, pairs, call.body)
            return {parameter: request}
        return {parameter: kind(_environ(call))}

    return read


def query_values(query: str) -> dict[str, Any]:
    """Each value read as JSON where it is JSON; a repeated key becomes a list."""
    values: dict[str, list[Any]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        values.setdefault(name, []).append(_loose(value))
    return {name: many if len(many) > 1 else many[0] for name, many in values.items()}


def _loose(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


def _only_post(call: Call) -> None:
    if call.method == "OPTIONS":
        raise Refused(200, "")
    if call.method != "POST":
        raise Refused(405, "Method not allowed")


def _json_object(body: bytes) -> dict[str, Any]:
    if not body:
        raise Refused(400, "POST body is empty. Expecting a JSON dictionary.")
    try:
        value = json.loads(body)
    except ValueError as error:
        raise Refused(400, "POST body could not be decoded as JSON: %s" % error) from None
    if not isinstance(value, dict):
        raise Refused(400, "POST body should be a JSON dictionary.")
    return value


def _pick(found: dict[str, Any], parameters: list[inspect.Parameter]) -> Arguments:
    chosen: Arguments = {}
    for one in parameters:
        value = found.get(one.name, one.default)
        if value is inspect.Parameter.empty:
            raise Refused(400, "A value is not provided for the %r parameter." % one.name)
        chosen[one.name] = value
    return chosen


def _environ(call: Call) -> dict[str, Any]:
    """The WSGI environment Flask builds its request from."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": call.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": call.path,
        "QUERY_STRING": call.query,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "5001",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_LENGTH": str(len(call.body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(call.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in call.headers:
        if name == "content-type":
            environ["CONTENT_TYPE"] = value
        elif name != "content-length":
            environ["HTTP_" + name.upper().replace("-", "_")] = value
    return environ
