"""Models, environments, code, data, components and the other registered resources."""

from __future__ import annotations
