"""What becomes of a request when no model answered it: one value each, the edges give it a form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from headrace_bus.routing.queueing.dispatch import Overdue
from headrace_bus.wire.envelope import Answer, AnswerKind

RETRY_AFTER_S: Final = 1  # what 429 tells a client to wait
RAISE_LIMIT: Final = (
    "Raise headrace.maxBodyBytes of the deployment, and HEADRACE_MAX_BODY_BYTES of the ingress "
    "where that is lower."
)

STARTS_FAIL: Final = (
    "No instance is ready and every start attempt failed. See the deployment's logs."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Ours, not the model's. `status` is the HTTP status on a managed endpoint."""

    status: int
    code: str
    """ARM error code."""
    message: str
    reason: str = ""
    """Value of ms-azureml-model-error-reason with 424, label of the metric."""
    retry_after_s: int | None = None


def not_ready(*, kubernetes: bool = False, failed: bool = False) -> Refusal:
    """`failed`: as the route says, so that the caller looks for the cause instead of waiting."""
    return Refusal(
        status=503 if kubernetes else 424,
        code="ServiceUnavailable" if kubernetes else "FailedDependency",
        message=STARTS_FAIL if failed else "No instance of the deployment is ready to answer.",
        reason="model_not_ready",
    )


def too_many_pending(limit: int) -> Refusal:
    return Refusal(
        status=429,
        code="TooManyRequests",
        message=f"More than {limit} requests are waiting and running at the deployment.",
        reason="too_many_pending_request",
        retry_after_s=RETRY_AFTER_S,
    )


def waited_too_long() -> Refusal:
    return Refusal(
        status=429,
        code="TooManyRequests",
        message="No instance had room for the request within max_queue_wait.",
        reason="max_queue_wait",
        retry_after_s=RETRY_AFTER_S,
    )


def timed_out() -> Refusal:
    return Refusal(
        status=408,
        code="RequestTimeout",
        message="The model did not answer within the request timeout.",
        reason="timeout",
    )


def model_error(message: str, reason: str = "model_error") -> Refusal:
    return Refusal(status=424, code="FailedDependency", message=message, reason=reason)


def too_large(limit_bytes: int, size_bytes: int | None = None) -> Refusal:
    return Refusal(
        status=413,
        code="RequestEntityTooLarge",
        message=body_too_large(limit_bytes, size_bytes),
        reason="too_large",
    )


def encoded(coding: str) -> Refusal:
    """Of a body in a Content-Encoding: unpacked, it might be any size."""
    return Refusal(
        status=415,
        code="UnsupportedMediaType",
        message=f"A body in Content-Encoding {coding[:32]!r} is not supported: send it as it is.",
        reason="encoded",
    )


def body_too_large(limit_bytes: int, size_bytes: int | None = None) -> str:
    """What a client is told of a request body past its bound; None: it is not known how far."""
    found = f"has {size_bytes} bytes" if size_bytes is not None else "is larger"
    return f"The request body {found}; at most {limit_bytes} bytes are allowed. {RAISE_LIMIT}"


def answer_too_large(size_bytes: int, limit_bytes: int) -> Refusal:
    return model_error(
        f"The model's answer has {size_bytes} bytes; at most {limit_bytes} are allowed. "
        f"Stream it from a generator, or {RAISE_LIMIT[0].lower()}{RAISE_LIMIT[1:]}",
        "answer_too_large",
    )


def no_room(what: str) -> Refusal:
    return Refusal(
        status=507,
        code="InsufficientStorage",
        message=f"There is not enough disk space for {what} of this size; try again later.",
        reason="no_room",
    )


def overdue(why: Overdue, *, attempt: int, kubernetes: bool, failed: bool = False) -> Refusal:
    """What a request that ran past one of its clocks is told."""
    if why is Overdue.NOT_READY:
        return not_ready(kubernetes=kubernetes, failed=failed)
    if why is Overdue.QUEUE and attempt == 1:
        return waited_too_long()
    return timed_out()


def failed(answer: Answer, *, kubernetes: bool) -> Refusal:
    """What an instance's FAILED or EXPIRED means for the caller."""
    if answer.kind == AnswerKind.EXPIRED or answer.reason == "timeout":
        return timed_out()
    if answer.reason == "model_not_ready":
        return not_ready(kubernetes=kubernetes)
    if answer.reason == "answer_too_large":
        return model_error("The model's answer is too large for one message.", answer.reason)
    if answer.reason == "no_room":
        return no_room("a request body or an answer")
    if answer.reason == "answer_lost":
        return model_error("The request ran, but its answer was lost with the NATS connection.")
    return model_error("The model's process ended before it answered.")
