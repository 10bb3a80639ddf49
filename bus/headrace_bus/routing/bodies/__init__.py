"""Large bodies: shared files and pieces."""

from __future__ import annotations
