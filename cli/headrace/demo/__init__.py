"""`headrace demo`: a model, traffic and a rollout; every tick is an assertion."""

from __future__ import annotations
