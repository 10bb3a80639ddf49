"""What tests share: real servers, real processes."""

from __future__ import annotations
