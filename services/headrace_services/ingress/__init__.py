"""The HTTP edge of scoring."""

from __future__ import annotations
