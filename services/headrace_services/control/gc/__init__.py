"""Garbage collection."""

from __future__ import annotations
