"""What is stored and how: records, their repository, keys and roles. Below every service."""

from __future__ import annotations
