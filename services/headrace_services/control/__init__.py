"""The control API, its operations and the reconciler."""

from __future__ import annotations
