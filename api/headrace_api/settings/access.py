"""Settings of clients and outer issuers, which Azure does not have: no file, and no other keys.

A name that is mistyped (`subjects`, `endpointName`) would give more than was meant.
"""

from __future__ import annotations

from typing import Final

from headrace_api.settings.setting import Schema, Setting, row, shown

_NOTE: Final = "On the wire only, and of Headrace alone; a body with another key is refused."
_ENDPOINT: Final = row("", "properties.endpoint", "The one endpoint that the role is limited to.")
_READ: Final[tuple[Setting, ...]] = shown(
    ("", "id"),
    ("", "name"),
    ("", "type"),
    ("", "systemData"),
    ("", "properties.provisioningState"),
    ("", "properties.createdAt"),
    ("", "properties.createdBy"),
)

CLIENT: Final = Schema(
    name="client",
    note=f"{_NOTE} `headrace client create` makes one.",
    settings=(
        row("", "properties.role", "What it may do."),
        _ENDPOINT,
        row("", "properties.displayName", "Stored and shown."),
        *_READ,
        *shown(("", "properties.clientId"), ("", "properties.secret")),
    ),
)

ISSUER: Final = Schema(
    name="issuer",
    note=f"{_NOTE} `headrace issuer add` makes one.",
    settings=(
        row("", "properties.issuer", "Whose tokens are taken."),
        row("", "properties.audience", "For whom a token must be."),
        row("", "properties.algorithms", "How it must be signed.", whole=True),
        row("", "properties.subject", "The one subject that is meant."),
        row("", "properties.role", "What its tokens may do."),
        _ENDPOINT,
        row("", "properties.caCertificate", "By which its address is verified."),
        *_READ,
    ),
)
