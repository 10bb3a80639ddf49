"""The table: every kind of resource that is read from a file or a body."""

from __future__ import annotations

from typing import Final

from headrace_api.settings.access import CLIENT, ISSUER
from headrace_api.settings.assets import CODE, COMPONENT, DATA, ENVIRONMENT, MODEL
from headrace_api.settings.catalog import COMPUTE, DATASTORE, SCHEDULE, WORKSPACE
from headrace_api.settings.online import DEPLOYMENT, ENDPOINT

SCHEMAS: Final = (
    ENDPOINT,
    DEPLOYMENT,
    MODEL,
    ENVIRONMENT,
    CODE,
    DATA,
    COMPONENT,
    DATASTORE,
    COMPUTE,
    SCHEDULE,
    WORKSPACE,
    CLIENT,
    ISSUER,
)
