"""What the HTTP ingress and the NATS router share."""

from __future__ import annotations
