"""Every error of the API as the ARM envelope, and nothing of ours beyond it."""

from __future__ import annotations

import json
import time
from typing import ClassVar

import structlog
from aiohttp import HttpVersion10, HttpVersion11, web
from aiohttp.typedefs import Handler

from headrace_api import arm
from headrace_api.errors import HeadraceError, InvalidInput, NoRoom
from headrace_services.control.arm.route_table import MethodNotAllowed

log = structlog.get_logger(__name__)


class OtherProtocol(InvalidInput):
    """What would follow this head is, for the parser, no request of HTTP/1.1."""


class EncodedBody(HeadraceError):
    """A body that was compressed: unpacked, it may be any size."""

    code: ClassVar[str] = "UnsupportedMediaType"
    status: ClassVar[int] = 415


def require_identity(request: web.Request) -> None:
    """Raises EncodedBody for a body in any Content-Encoding but identity."""
    coding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in ("", "identity") and request.body_exists:
        raise EncodedBody(
            f"a body in Content-Encoding {coding[:32]!r} is not supported: send it as it is",
            target="Content-Encoding",
        )


def _require_plain(request: web.Request) -> None:
    """Raises OtherProtocol. The parser leaves the body of these unread, and then takes it for one.

    So a request could be hidden in the body of another. Of two credentials, whoever stands in front
    may have judged the other one.
    """
    other = request.method == "CONNECT" or "Upgrade" in request.headers
    if other or request.version not in (HttpVersion10, HttpVersion11):
        raise OtherProtocol("only HTTP/1.1 and 1.0 are supported, without CONNECT and upgrades")
    codings = [coding.lower() for coding in request.headers.getall("Transfer-Encoding", ())]
    if codings and (codings != ["chunked"] or request.version == HttpVersion10):
        raise OtherProtocol("the only supported Transfer-Encoding is chunked, in HTTP/1.1")
    if len(request.headers.getall("Authorization", ())) > 1:
        raise OtherProtocol("the request has more than one Authorization header")


async def refuse_expectation(request: web.Request, answer: web.StreamResponse) -> None:
    """The HTTP library's own answer to an `Expect` it does not know, in ARM's words, and the last.

    It comes before any middleware, and leaves the body unread: what follows may be that.
    """
    if answer.status == 417 and isinstance(answer, web.Response):
        wanted = request.headers.get("Expect", "")[:64]
        words = f"Expect is {wanted!r}; only 100-continue is supported"
        body = arm.error_body("ExpectationFailed", words, target=request.path)
        answer.body = json.dumps(body).encode()
        # Too late for aiohttp to set these itself.
        answer.headers["Content-Length"] = str(len(answer.body))
        answer.headers["Content-Type"] = "application/json; charset=utf-8"
        answer.headers["Connection"] = "close"
        answer.force_close()


def error_response(error: HeadraceError, *, target: str) -> web.Response:
    """`target` is what the error is about when it does not say so itself."""
    body = arm.error_of(error)
    body["error"].setdefault("target", target)
    headers = {}
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="headrace"'
    if isinstance(error, EncodedBody):
        headers["Accept-Encoding"] = "identity"  # RFC 9110 15.5.16
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = ", ".join(error.allowed)
    return web.json_response(body, status=error.status, headers=headers)


@web.middleware
async def arm_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns what a handler raises into an answer; anything unforeseen is a 500 without detail."""
    started = time.monotonic()
    try:
        _require_plain(request)
        return await handler(request)
    except (OtherProtocol, EncodedBody) as error:
        answer = error_response(error, target=request.path)
        answer.force_close()
        return answer
    except HeadraceError as error:
        log.info(
            "request refused",
            method=request.method,
            path=request.path[:256],
            status=error.status,
            code=error.code,
            duration_s=round(time.monotonic() - started, 4),
        )
        return error_response(error, target=request.path)
    except web.HTTPException as error:
        body = arm.error_body(error.reason.replace(" ", ""), error.reason, target=request.path)
        return web.json_response(body, status=error.status)
    except ConnectionError:
        raise  # the client left; there is nobody to answer
    except Exception as error:  # the edge of one request: the process and its others go on
        if isinstance(error, OSError) and NoRoom.is_cause(error):
            log.warning("request refused for want of disk space", path=request.path[:256])
            return error_response(NoRoom("what was sent"), target=request.path)
        log.exception("request failed", method=request.method, path=request.path[:256])
        words = "control failed to handle this request; its log has the cause"
        return web.json_response(
            arm.error_body("InternalServerError", words, target=request.path), status=500
        )
