"""Fuzzing: no input crashes a part of ours, is answered 5xx, or leaks into another's answer."""

from __future__ import annotations
