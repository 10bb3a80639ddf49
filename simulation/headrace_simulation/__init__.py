"""Dispatch simulated and replayed: for tests and measurements, no part of a running platform."""

from __future__ import annotations
