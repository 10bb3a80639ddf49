"""The client of the control API: `http.client` over TLS with the platform's own CA.

The bearer token goes to the control address only; poll and blob addresses that answers carry are
taken by their path, so that a wrong host in an answer never sees a credential.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import click

from headrace import errors
from headrace.credential import Bearer, credential
from headrace.http_client import UP_COMMAND, Answer, Http, api_error
from headrace.settings import Settings
from headrace_api.home import Home
from headrace_api.ids import ResourceId
from headrace_api.settings.told import warnings_in

CONTROL_URL_VARIABLE: Final = "HEADRACE_CONTROL_URL"
API_VERSION: Final = "2023-04-01"


def control_url(home: Home) -> str:
    """HEADRACE_CONTROL_URL > `<home>/run/status.json`. Raises Unreachable."""
    if url := os.environ.get(CONTROL_URL_VARIABLE):
        return url
    try:
        found = json.loads((home.run / "status.json").read_bytes())["control_url"]
    except (OSError, ValueError, KeyError, TypeError):
        raise errors.Unreachable(f"no platform runs in {home.root}", hint=UP_COMMAND) from None
    return str(found)


class Client:
    """The control API of one workspace."""

    def __init__(
        self,
        http_client: Http,
        signed_in: Bearer,
        workspace: ResourceId,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.http = http_client
        self.workspace = workspace
        self._signed_in = signed_in
        self._warn = warn
        """Told what control warns of in what it has stored."""

    @classmethod
    def of(cls, settings: Settings) -> Client:
        home = settings.home
        signed_in = credential(home, os.environ)
        http_client = Http(control_url(home), ca=home.ca, trace=tracer(settings))
        return cls(http_client, signed_in, ResourceId(), settings.warn)

    def bearer(self) -> str:
        """The token that goes with a call. Raises ApiError, Unreachable."""
        return self._signed_in(self.http)

    def get(self, path: str, **query: str) -> Any:
        """GET below the workspace. Raises ApiError, Unreachable."""
        return self.call("GET", self._target(path, query)).json()

    def find(self, path: str, **query: str) -> Any | None:
        """As get, None when it does not exist."""
        try:
            return self.get(path, **query)
        except errors.ApiError as error:
            if error.status_code == 404:
                return None
            raise

    def read(self, path: str) -> tuple[Any, str]:
        """As get, for a change of it: what `put` then takes as `match` goes with it."""
        answer = self.call("GET", self._target(path, {}))
        return answer.json(), answer.headers.get("etag", "")

    def put(self, path: str, body: Mapping[str, Any], *, match: str = "") -> Answer:
        """A change of what was read: a 409 when somebody else has written it since."""
        return self.call("PUT", self._target(path, {}), body, match=match)

    def patch(self, path: str, body: Mapping[str, Any], *, match: str = "") -> Answer:
        """As put; what is left out stays."""
        return self.call("PATCH", self._target(path, {}), body, match=match)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        return self.call("POST", self._target(path, {}), body)

    def delete(self, path: str) -> Answer:
        return self.call("DELETE", self._target(path, {}))

    def values(self, path: str, **query: str) -> list[dict[str, Any]]:
        """All pages of a collection."""
        body = self.get(path, **query)
        found = list(body.get("value") or ())
        while following := body.get("nextLink"):
            body = self.call("GET", local_target(following)).json()
            found += body.get("value") or ()
        return found

    def call(
        self, method: str, target: str, body: Mapping[str, Any] | None = None, *, match: str = ""
    ) -> Answer:
        """One exchange with the token. Raises ApiError, Unreachable."""
        headers = {"Authorization": f"Bearer {self.bearer()}", "Accept": "application/json"}
        if match:
            headers["If-Match"] = match
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        elif method == "POST":
            data = b""
        answer = self.http.send(method, target, headers=headers, body=data)
        if answer.status >= 400:
            raise api_error(answer)
        if method in ("PUT", "PATCH"):
            self._tell(answer)
        return answer

    def _tell(self, answer: Answer) -> None:
        for line in warnings_in(answer.json()) if answer.body else ():
            self._warn(line)

    def _target(self, path: str, query: Mapping[str, str]) -> str:
        from urllib.parse import quote, urlencode

        asked = urlencode({**query, "api-version": API_VERSION}, safe="$")
        below = quote(path.strip("/"))
        return f"{self.workspace}/{below}?{asked}" if below else f"{self.workspace}?{asked}"


def local_target(url: str) -> str:
    """Path and query of an address that an answer carried."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def tracer(settings: Settings) -> Callable[[str], None]:
    """Writes the exchange to stderr with --debug."""
    if not settings.debug:
        return lambda _: None
    return lambda text: click.echo(text, err=True)
