"""The parts that the pieces of the OpenAPI document are put together from."""

from __future__ import annotations

import re
from typing import Any, Final

Schema = dict[str, Any]
TEXT: Final[Schema] = {"type": "string"}
WORDS: Final[Schema] = {"type": "object", "additionalProperties": TEXT}
JSON: Final = "application/json"
_PARAMETER: Final = re.compile(r"\{(\w+)\}")


def object_of(required: tuple[str, ...] = (), /, **fields: Schema) -> Schema:
    found: Schema = {"type": "object", "properties": fields}
    return found | {"required": list(required)} if required else found


def optional(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def one_of(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def count(least: int, most: int) -> Schema:
    return {"type": "integer", "minimum": least, "maximum": most}


def reference(schema: str) -> Schema:
    return {"$ref": f"#/components/schemas/{schema}"}


def answer(words: str, schema: Schema | None = None, media_type: str = JSON) -> dict[str, Any]:
    """A response; without a schema it has no body that is told."""
    content = {} if schema is None else {"content": {media_type: {"schema": schema}}}
    return {"description": words, **content}


def path_parameters(template: str) -> list[dict[str, Any]]:
    return [
        parameter("path", name, {"type": "string", "minLength": 1}, required=True)
        for name in _PARAMETER.findall(template)
    ]


def parameter(place: str, name: str, schema: Schema, *, required: bool = False) -> dict[str, Any]:
    """`place` is path, query or header."""
    return {"name": name, "in": place, "required": required, "schema": schema}
