"""Online endpoints and deployments on the wire."""

from __future__ import annotations
