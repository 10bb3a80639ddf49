"""Resources of the platform: names, YAML in, ARM JSON out, and the root of the error tree."""

from __future__ import annotations
