"""The version, which the build reads too: asking installed metadata costs a third of a start."""

from __future__ import annotations

VERSION = "0.1.0"
