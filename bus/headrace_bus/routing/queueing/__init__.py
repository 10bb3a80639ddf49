"""Pure decisions at an edge: which request goes to which instance, and when."""

from __future__ import annotations
