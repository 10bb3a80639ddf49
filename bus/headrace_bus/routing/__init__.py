"""Which deployment and which instance takes a request: pure decisions and their asyncio shell."""

from __future__ import annotations
