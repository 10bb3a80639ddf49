"""The two names by which records, subjects and metrics know a deployment."""

from __future__ import annotations

from typing import NamedTuple


class DeploymentName(NamedTuple):
    """A deployment, by the lower-case names that keys carry."""

    endpoint: str
    deployment: str
