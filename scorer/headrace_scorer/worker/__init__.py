"""What runs in the user's interpreter. Standard library only, Python 3.8 and later."""

from __future__ import annotations
