"""The OpenAPI document of the control API, read from the routes that serve it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from headrace_services.control.api import openapi_blobs, openapi_oidc
from headrace_services.control.api.openapi_bodies import body_of
from headrace_services.control.api.openapi_parts import (
    JSON,
    answer,
    object_of,
    path_parameters,
    reference,
)

VERSION: Final = "3.1.0"
_ERROR: Final = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "target"],
            "properties": {
                "code": {"type": "string", "minLength": 1},
                "message": {"type": "string", "minLength": 1},
                "target": {"type": "string"},
                "details": {"type": "array"},
            },
        }
    },
}
# The fields of every resource; a body of ours may hold more.
_RESOURCE: Final = {
    "type": "object",
    "required": ["id", "name", "type"],
    "properties": {
        "id": {"type": "string"},
        "name": {"type": "string"},
        "type": {"type": "string"},
        "properties": {"type": "object"},
        "location": {"type": "string"},
    },
}
_COLLECTION: Final = {
    "type": "object",
    "required": ["value"],
    "properties": {
        "value": {"type": "array", "items": {"type": "object"}},
        "nextLink": {"type": ["string", "null"]},
    },
}
_ATTACHED: Final = object_of(
    ("launch", "credentials"), launch={"type": "object"}, credentials={"type": "string"}
)
_WRITES: Final = frozenset({"PUT", "PATCH", "POST"})
# Not of ARM's shape: documents, and the identity provider's lists of who may be asked for.
_DOCUMENTS: Final = ("healthz", "readyz", "discovery", "endpoints", "openapi.json", "audit")
_RESOURCES: Final = (
    "onlineendpoints",
    "deployments",
    "datastores",
    "computes",
    "schedules",
    "versions",
    "models",
    "environments",
    "codes",
    "data",
    "components",
    "clients",
    "issuers",
    "workspaces",
)


def document(
    protected: Iterable[tuple[str, str]], public: Iterable[tuple[str, str]]
) -> dict[str, Any]:
    """OpenAPI 3.1 of pairs of method and template; `protected` ones need a bearer token.

    The issuer's paths and the blob wire are no routes of these and come with their own tables.
    """
    paths: dict[str, dict[str, Any]] = openapi_oidc.oidc_paths() | openapi_blobs.blob_paths()
    for routes, is_protected in ((protected, True), (public, False)):
        for method, template in routes:
            item = paths.setdefault(template, {"parameters": path_parameters(template)})
            item[method.lower()] = _operation(method, template, is_protected)
    bearer = {"bearer": {"type": "http", "scheme": "bearer"}}
    schemas = {"Error": _ERROR, "Resource": _RESOURCE, "Collection": _COLLECTION}
    return {
        "openapi": VERSION,
        "info": {"title": "Headrace control API", "version": "1"},
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": bearer | openapi_oidc.SECURITY | openapi_blobs.SECURITY,
            "schemas": schemas | openapi_oidc.SCHEMAS | openapi_blobs.SCHEMAS,
        },
    }


def _operation(method: str, template: str, is_protected: bool) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{method.lower()} {template}",
        "responses": {
            "2XX": _success(method, template),
            "4XX": answer("refused", reference("Error")),
        },
    }
    if template.endswith("readyz"):
        operation["responses"]["503"] = {"description": "not ready"}
    if method in _WRITES:
        operation["requestBody"] = {
            "required": method != "POST",
            "content": {JSON: {"schema": body_of(method, template)}},
        }
    operation["security"] = [{"bearer": []}] if is_protected else []
    return operation


def _success(method: str, template: str) -> dict[str, Any]:
    """The shape of what comes back, where the template tells it."""
    parts = template.lower().strip("/").split("/")
    last, before = parts[-1], parts[-2] if len(parts) > 1 else ""
    if last in _DOCUMENTS:
        return answer("a document")
    if last == "attach":
        return answer("what the instance is started with", _ATTACHED)
    if method == "GET" and not last.startswith("{"):
        return answer("all of them", reference("Collection"))
    if method in ("GET", "PUT", "PATCH") and before in _RESOURCES:
        return answer("the resource", reference("Resource"))
    return answer("done")
