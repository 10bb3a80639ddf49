"""State, leases and blobs on top of the client."""

from __future__ import annotations
