"""One instance of a deployment: fetch, environment, workers, and the loop that serves requests."""

from __future__ import annotations
