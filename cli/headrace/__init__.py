"""The headrace command."""

from __future__ import annotations
