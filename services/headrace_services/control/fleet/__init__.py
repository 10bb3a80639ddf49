"""The reconciler: makes what runs match what is stored."""

from __future__ import annotations
