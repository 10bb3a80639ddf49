"""The installed version, without importing the package metadata machinery twice."""

from __future__ import annotations


def version() -> str:
    """Of the distribution that is installed; `0+unknown` in a bare checkout."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("headrace")
    except PackageNotFoundError:
        return "0+unknown"
