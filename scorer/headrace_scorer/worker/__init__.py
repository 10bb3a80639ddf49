"""What runs in the user's interpreter: loads score.py and answers frames. Standard library only.

A launcher loads this folder under the name `headrace_worker`, so nothing of ours is on the user's
sys.path; neighbours are imported relatively, and the code runs on Python 3.8 to 3.13.
"""

from __future__ import annotations

from .batching import batched

__all__ = ["batched"]
