"""Measures Headrace beside other servers that do the same work on the same box."""

from __future__ import annotations
