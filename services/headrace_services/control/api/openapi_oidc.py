"""The issuer's paths in the OpenAPI document, made of its own table; errors are those of OAuth."""

from __future__ import annotations

from typing import Any, Final

from headrace_services.control.api.openapi_parts import (
    TEXT,
    Schema,
    answer,
    object_of,
    one_of,
    parameter,
    reference,
)
from headrace_services.control.identity.issuer import TENANT
from headrace_services.control.identity.oidc import ADFS, GRANT, ROUTES

SCHEMAS: Final[dict[str, Schema]] = {
    "OAuthError": object_of(
        ("error", "error_description"),
        error={"type": "string", "minLength": 1},
        error_description={"type": "string", "minLength": 1},
    ),
    "IssuerConfiguration": object_of(
        ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri"),
        issuer=TEXT,
        authorization_endpoint=TEXT,
        token_endpoint=TEXT,
        jwks_uri=TEXT,
    ),
    "IssuerKeys": object_of(
        ("keys",), keys={"type": "array", "minItems": 1, "items": object_of(("kty",), kty=TEXT)}
    ),
    "Token": object_of(
        ("token_type", "expires_in", "access_token"),
        token_type=one_of("Bearer"),
        expires_in={"type": "integer", "minimum": 1},
        ext_expires_in={"type": "integer"},
        access_token={"type": "string", "minLength": 1},
    ),
}
SECURITY: Final = {"client": {"type": "http", "scheme": "basic"}}
FORM: Final = "application/x-www-form-urlencoded"
_FORM: Final = object_of(
    ("grant_type",),
    grant_type=one_of(GRANT),
    client_id=TEXT,
    client_secret=TEXT,
    scope=TEXT,
    resource=TEXT,
)
# By the last segment of the path; what is not here only refuses.
_TOLD: Final = {"openid-configuration": "IssuerConfiguration", "keys": "IssuerKeys"}
# A path that cannot be read (a control character in it) is refused before it is anybody's.
_REFUSED: Final[Schema] = {"anyOf": [reference("OAuthError"), reference("Error")]}
_TENANT: Final = parameter("path", "tenant", one_of(TENANT, ADFS), required=True)


def oidc_paths() -> dict[str, dict[str, Any]]:
    """Each path below `/{tenant}` with its methods."""
    paths: dict[str, dict[str, Any]] = {}
    for segments, methods in ROUTES.items():
        template = "/".join(("/{tenant}", *segments))
        operations = {one.lower(): _operation(one, template) for one in methods}
        paths[template] = {"parameters": [_TENANT], **operations}
    return paths


def _operation(method: str, template: str) -> dict[str, Any]:
    last = template.rpartition("/")[2]
    has_body = method != "HEAD"
    operation: dict[str, Any] = {
        "operationId": f"{method.lower()} {template}",
        "security": [],
        "responses": {"4XX": answer("refused", _REFUSED if has_body else None)},
    }
    if last in _TOLD:
        told = reference(_TOLD[last]) if has_body else None
        operation["responses"]["2XX"] = answer("a document", told)
    if last == "token":
        operation["responses"]["2XX"] = answer("a token", reference("Token"))
        operation["requestBody"] = {"required": True, "content": {FORM: {"schema": _FORM}}}
        # The secret comes in the header or in the form.
        operation["security"] = [{"client": []}, {}]
    return operation
