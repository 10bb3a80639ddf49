"""The event log and the request accounting."""

from __future__ import annotations
