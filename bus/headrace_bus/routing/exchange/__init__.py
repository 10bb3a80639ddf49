"""Requests sent and answers received over the bus."""

from __future__ import annotations
