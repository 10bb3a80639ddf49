"""`headrace up` and its kin: the processes of one installation, started, watched and stopped."""

from __future__ import annotations
