"""Azure's blob wire over the blob store."""

from __future__ import annotations
