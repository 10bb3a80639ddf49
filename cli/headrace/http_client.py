"""HTTP to one origin, over TLS with the platform's own CA."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, cast
from urllib.parse import SplitResult, urlsplit

from headrace import errors, masking
from headrace_api import arm

TIMEOUT_S: Final = 60.0
MAX_ANSWER_BYTES: Final = 256 * 1024 * 1024
SEND_BLOCK_BYTES: Final = 256 * 1024
UP_COMMAND: Final = "headrace up --detach"

Body = bytes | IO[bytes] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One HTTP answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON; an empty object when there is none. Raises CommandError."""
        try:
            return json.loads(self.body) if self.body else {}
        except ValueError as error:
            raise errors.CommandError(
                "the answer is not JSON", hint="is this the control address of a platform?"
            ) from error


class Http:
    """Kept-alive connections to one origin."""

    def __init__(
        self, url: str, *, ca: Path, trace: Callable[[str], None], timeout_s: float = TIMEOUT_S
    ) -> None:
        self._parts: SplitResult = urlsplit(url)
        self._ca = ca
        self._trace = trace
        self._timeout_s = timeout_s
        self._connection: http.client.HTTPConnection | None = None
        if self._parts.scheme not in ("http", "https") or not self._parts.hostname:
            raise errors.BadUsage(f"{url!r} is not an http or https address")
        if self._parts.scheme == "http" and not _on_this_machine(self._parts.hostname):
            raise errors.BadUsage(
                f"{self.origin} is plain http on another machine",
                hint="keys and tokens would be sent unencrypted; use https",
            )

    @property
    def origin(self) -> str:
        return f"{self._parts.scheme}://{self._parts.netloc}"

    def send(
        self, method: str, target: str, *, headers: Mapping[str, str], body: Body = None
    ) -> Answer:
        """One exchange, tried once more when a kept-alive connection turns out to be closed.

        A POST goes over a new one: it may have been done when the connection broke, and twice
        regenerates two keys. Raises Unreachable.
        """
        self._trace(masking.request_text(method, self.origin + target, headers, body))
        if method == "POST":
            self.close()
        fresh = self._connection is None
        try:
            answer = self._exchange(method, target, headers, body)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as error:
            self.close()
            if fresh:
                raise self._unreachable(error) from error
            if body is not None and not isinstance(body, bytes):
                body.seek(0)
            answer = self._again(method, target, headers, body)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._unreachable(error) from error
        self._trace(masking.answer_text(answer.status, answer.headers, answer.body))
        return answer

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _again(self, method: str, target: str, headers: Mapping[str, str], body: Body) -> Answer:
        try:
            return self._exchange(method, target, headers, body)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._unreachable(error) from error

    def _exchange(self, method: str, target: str, headers: Mapping[str, str], body: Body) -> Answer:
        if self._connection is None:
            self._connection = self._connect()
        self._connection.request(method, target, body=body, headers=dict(headers))
        response = self._connection.getresponse()
        data = response.read(MAX_ANSWER_BYTES + 1)
        if len(data) > MAX_ANSWER_BYTES:
            self.close()
            raise errors.CommandError(f"the answer is larger than {MAX_ANSWER_BYTES} bytes")
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(status=response.status, headers=found, body=data)

    def _connect(self) -> http.client.HTTPConnection:
        host, port = cast(str, self._parts.hostname), self._parts.port
        if self._parts.scheme == "http":
            return http.client.HTTPConnection(
                host, port, timeout=self._timeout_s, blocksize=SEND_BLOCK_BYTES
            )
        known = str(self._ca) if self._ca.is_file() else None
        context = ssl.create_default_context(cafile=known)
        return http.client.HTTPSConnection(
            host, port, timeout=self._timeout_s, context=context, blocksize=SEND_BLOCK_BYTES
        )

    def _unreachable(self, error: Exception) -> errors.Unreachable:
        if isinstance(error, ssl.SSLCertVerificationError):
            return errors.Unreachable(
                f"the certificate of {self.origin} is not signed by {self._ca}",
                hint="does --home belong to the platform at this address?",
            )
        why = str(error) or type(error).__name__
        return errors.Unreachable(
            f"{self.origin} does not answer: {why}", hint=f"headrace status; {UP_COMMAND}"
        )


def api_error(answer: Answer) -> errors.ApiError:
    """The four parts of an error answer."""
    try:
        found = arm.read_error(json.loads(answer.body))
    except (ValueError, RecursionError):
        found = None
    if found is None:
        text = answer.body[:2_000].decode(errors="replace").strip()
        return errors.ApiError(answer.status, "", f"HTTP {answer.status}", detail=text)
    message, _, rest = found.message.partition("\n")
    error = errors.ApiError(
        answer.status, found.code, message, detail="\n".join(filter(None, [rest, *found.others]))
    )
    error.hint = found.hint or error.hint
    return error


def _on_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False
