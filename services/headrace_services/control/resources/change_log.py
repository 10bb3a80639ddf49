"""One line a write: who changed what, and to which revision. Never a body, never a secret."""

from __future__ import annotations

import structlog

from headrace_services.control.arm.request import Call

log = structlog.get_logger("headrace.audit")


def audit(call: Call, action: str, resource: str, revision: int) -> None:
    """`action` is write, delete, or the name of a POST action."""
    log.info("audit", who=call.principal.name, action=action, resource=resource, revision=revision)
