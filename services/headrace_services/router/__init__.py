"""Scoring for callers that speak NATS."""

from __future__ import annotations
