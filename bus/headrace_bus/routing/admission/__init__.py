"""The instance's side of dispatch: which request may start."""

from __future__ import annotations
