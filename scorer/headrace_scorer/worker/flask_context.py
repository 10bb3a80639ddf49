"""Flask's `request`, `current_app` and `jsonify`, for scripts that use them.

The original's server is a Flask application, so that they work there (azure_behaviour.md 6).
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any, ContextManager, Final

from .frames import Call

NOTHING: Final = contextlib.nullcontext()


class FlaskContext:
    """Makes the context of a request where the script has imported Flask."""

    def __init__(self) -> None:
        self._application: Any = None

    def of(self, call: Call) -> ContextManager[Any]:
        flask = sys.modules.get("flask")
        if flask is None:
            return NOTHING
        if self._application is None:
            self._application = flask.Flask("headrace_worker", static_folder=None)
        context: ContextManager[Any] = self._application.test_request_context(
            call.path,
            method=call.method,
            query_string=call.query,
            headers=list(call.headers),
            data=bytes(call.body),
        )
        return context
