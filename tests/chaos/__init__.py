"""Survival: the platform under load while its parts die, freeze, vanish and come back."""

from __future__ import annotations
