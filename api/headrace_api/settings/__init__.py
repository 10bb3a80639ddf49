"""What becomes of each setting of each resource: applied, refused, warned of or shown."""

from __future__ import annotations
