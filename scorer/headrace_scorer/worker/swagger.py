"""The OpenAPI documents of a script, generated, or taken from the app root where the user put them.

Shape, names and operation ids follow azure_behaviour.md 6.2.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qs

from . import answers
from .console import log

ALIASES: Final = {"2": "2", "2.0": "2", "3": "3", "3.0": "3", "3.1": "3.1"}
FILES: Final = {
    "2": ("swagger.json", "swagger2.json"),
    "3": ("swagger3.json",),
    "3.1": ("swagger3.1.json",),
}
OPENAPI: Final = {"3": "3.0.3", "3.1": "3.1.0"}
_ANY: Final = {"type": "object", "example": {}}
_FAILED: Final = "The service failed to execute due to an error."
_BEARER: Final = {
    "type": "apiKey",
    "name": "Authorization",
    "in": "header",
    "description": "For example: Bearer abc123",
}
_ERROR: Final = {"type": "object", "properties": {"message": {"type": "string"}}}


class Swagger:
    """Documents by version, made once at start."""

    def __init__(self, app_root: str, run: Callable[..., Any], decorated: bool) -> None:
        self._documents: dict[str, bytes] = {}
        supported, schemas = _schemas(run) if decorated else (list(ALIASES), (_ANY, _ANY))
        for version in FILES:
            document = _own(app_root, version)
            if document is None and version in {ALIASES.get(one) for one in supported}:
                document = _generate(version, *schemas)
            if document is not None:
                self._documents[version] = json.dumps(document).encode()

    def answer(self, query: str) -> answers.Made:
        """200 with the document, or 404 with the versions there are."""
        asked = parse_qs(query).get("version", ["2"])[0]
        document = self._documents.get(ALIASES.get(asked, ""))
        if document is not None:
            return answers.Made(200, [answers.JSON, answers.NOT_FAILED], document)
        there = ", ".join(sorted(self._documents))
        if asked in ALIASES:
            text = "Swagger version [%s] is not supported for the scoring script. " % asked
            return answers.error(404, text + "Supported swagger versions: [%s]." % there)
        return answers.error(
            404, "Swagger version [%s] is not valid. Supported versions: [%s]." % (asked, there)
        )


def _own(app_root: str, version: str) -> Any:
    for name in FILES[version]:
        path = os.path.join(app_root, name)
        if os.path.isfile(path):
            with open(path, encoding="utf-8") as file:
                document = json.load(file)
            log.info("Loaded user's swagger file for version [%s] from %s", version, path)
            return document
    return None


def _schemas(run: Callable[..., Any]) -> Any:
    util = sys.modules["inference_schema.schema_util"]
    versions: list[str] = list(util.get_supported_versions(run))
    return versions, (util.get_input_schema(run), util.get_output_schema(run))


def _generate(version: str, given: Any, returned: Any) -> dict[str, Any]:
    schemas = {"ServiceInput": given, "ServiceOutput": returned, "ErrorResponse": _ERROR}
    name = os.environ.get("SERVICE_NAME", "ML service")
    info = {
        "title": name,
        "description": "API specification for the Azure Machine Learning service " + name,
        "version": os.environ.get("SERVICE_VERSION", "1.0"),
    }
    paths = _paths(version == "2")
    if version == "2":
        return {
            "swagger": "2.0",
            "info": info,
            "schemes": ["https"],
            "consumes": ["application/json"],
            "produces": ["application/json"],
            "securityDefinitions": {"Bearer": _BEARER},
            "paths": paths,
            "definitions": schemas,
        }
    return {
        "openapi": OPENAPI[version],
        "info": info,
        "security": [{"Bearer": []}],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"Bearer": _BEARER}},
    }


def _paths(two: bool) -> dict[str, Any]:
    prefix = os.environ.get("SERVICE_PATH_PREFIX", "").strip("/")
    root = "/" + prefix if prefix else ""
    ref = "#/definitions/" if two else "#/components/schemas/"
    score = {
        "operationId": "RunMLService",
        "description": "Run web service's model and get the prediction output",
        "security": [{"Bearer": []}],
        "responses": _responses(
            "The service processed the input correctly and provided a result prediction, "
            "if applicable.",
            {"$ref": ref + "ServiceOutput"},
            two,
        ),
    }
    score.update(_input({"$ref": ref + "ServiceInput"}, two))
    return {
        root + "/": {"get": _health(two)},
        root + "/score": {"post": score},
        root + "/swagger.json": {"get": _specification(two)},
    }


def _health(two: bool) -> dict[str, Any]:
    text = "If service is up and running, this response will be returned with the content 'Healthy'"
    schema = {"type": "string"} if two else {"type": "string", "example": "Healthy"}
    responses = _responses(text, schema, two)
    if two:
        responses["200"]["examples"] = {"application/json": "Healthy"}
    return {
        "operationId": "ServiceHealthCheck",
        "description": "Simple health check endpoint to ensure the service is up "
        "at any given point.",
        "responses": responses,
    }


def _specification(two: bool) -> dict[str, Any]:
    kind: dict[str, Any] = {"type": "integer", "enum": [2, 3]}
    version = {"name": "version", "in": "query", "required": False}
    version.update(kind if two else {"schema": kind})
    return {
        "operationId": "GetSwaggerSpec",
        "description": "Get the Swagger specification.",
        "parameters": [version],
        "responses": _responses("The Swagger specification.", {"type": "string"}, two),
    }


def _input(schema: dict[str, str], two: bool) -> dict[str, Any]:
    text = "The input payload for executing the real-time machine learning service."
    if not two:
        return {"requestBody": {"description": text, "content": _json(schema)}}
    one = {"name": "serviceInputPayload", "in": "body", "description": text, "schema": schema}
    return {"parameters": [one]}


def _responses(text: str, schema: dict[str, str], two: bool) -> dict[str, Any]:
    error = {"$ref": ("#/definitions/" if two else "#/components/schemas/") + "ErrorResponse"}
    if two:
        return {
            "200": {"description": text, "schema": schema},
            "default": {"description": _FAILED, "schema": error},
        }
    plain = schema.get("type") == "string"
    content = {"text/plain": {"schema": schema}} if plain else _json(schema)
    return {
        "200": {"description": text, "content": content},
        "default": {"description": _FAILED, "content": _json(error)},
    }


def _json(schema: dict[str, str]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
