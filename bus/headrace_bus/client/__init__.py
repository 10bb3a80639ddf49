"""The NATS client and the embedded server, with the corrections the stock client needs."""

from __future__ import annotations
