"""Rows that several kinds of resources share, and conditions on their values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from headrace_api.settings.setting import (
    Setting,
    When,
    other_than,
    refusal,
    row,
    shown,
    warned,
    warning,
)

SECRET_REFERENCES: Final = ("${{azureml://connections/", "${{keyvault:")

NAME: Final = row("name", "name", "The name; on the wire the path has it.")
DESCRIPTION: Final = row("description", "properties.description", "Stored and shown.")
TAGS: Final = row("tags", "tags", "Stored and shown.", whole=True)
READ_ONLY: Final = shown(
    ("$schema", ""),
    ("id", "id"),
    ("", "type"),
    ("provisioning_state", "properties.provisioningState"),
    ("creation_context", "systemData"),
    ("warnings", ""),
)
NO_IDENTITY: Final = (
    "no identity of Azure's stands behind, so a managed identity gets no token in a script; "
    "give it credentials by environment_variables"
)
IDENTITY: Final = (
    warning("identity.type", "", NO_IDENTITY),
    row(
        "",
        "identity.type",
        "`SystemAssigned`, which the stock client sends for everybody: stored and shown.",
        warned(other_than("SystemAssigned", "None"), NO_IDENTITY),
    ),
    warning("identity.user_assigned_identities", "identity.userAssignedIdentities", NO_IDENTITY),
    *shown(
        ("identity.$schema", ""),
        ("identity.principal_id", "identity.principalId"),
        ("identity.tenant_id", "identity.tenantId"),
    ),
)
NO_SKU: Final = warning("", "sku", "there are no sizes of this resource; nothing is read of it")
LOCATION: Final = row("location", "location", "Stored and shown; there is one region.")


def asset_rows(*, tags_in_key: str = "tags") -> tuple[Setting, ...]:
    """What every kind of asset has."""
    return (
        NAME,
        row(
            "version",
            "",
            "The version, the next number where none is given; on the wire the path has it.",
        ),
        DESCRIPTION,
        row(tags_in_key, "properties.tags", "Stored and shown.", whole=True),
        row("", "properties.isAnonymous", "Whether lists leave it out."),
        row("", "properties.isArchived", "Hides it from lists; `archive`, `restore`."),
        warning(
            "auto_delete_setting",
            "properties.autoDeleteSetting",
            "nothing is deleted by age, save what `headrace gc` collects",
        ),
        warning(
            "datastore", "", "files go to the workspace's own datastore, whatever is named here"
        ),
        refusal("intellectual_property", "", "nothing hides the content of an asset; leave it out"),
        *READ_ONLY,
        *shown(("latest_version", ""), ("is_archived", "")),
    )


def refers_to_a_secret(value: Any, _: Mapping[str, Any]) -> bool:
    lowered = value.lower() if isinstance(value, str) else ""
    return any(mark in lowered for mark in SECRET_REFERENCES)


SECRET_REFERENCE: Final = When(
    words="`${{azureml://connections/…}}` or `${{keyvault:…}}`",
    holds=refers_to_a_secret,
    found="refers to a connection or a key vault",
)
