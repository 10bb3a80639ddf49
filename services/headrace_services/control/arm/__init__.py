"""The ARM wire: requests, routes, errors."""

from __future__ import annotations
