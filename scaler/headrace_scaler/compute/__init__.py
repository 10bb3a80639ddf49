"""Providers that start, list and stop instances."""

from __future__ import annotations
