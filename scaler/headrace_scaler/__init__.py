"""How many instances there are, and the compute that makes it so."""

from __future__ import annotations
