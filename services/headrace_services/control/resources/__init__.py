"""How desired state changes, and the operations that report on it."""

from __future__ import annotations
