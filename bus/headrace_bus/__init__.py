"""How the parts talk: wire, client, store and routing."""

from __future__ import annotations
