"""`python -m headrace`."""

from __future__ import annotations

import sys

from headrace.main import main

sys.exit(main())
