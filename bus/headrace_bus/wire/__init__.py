"""Pure codecs: subjects, envelopes, heartbeats and records. Bytes in, values out, no I/O."""

from __future__ import annotations
