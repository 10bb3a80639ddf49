"""The application: routes, documents, console."""

from __future__ import annotations
