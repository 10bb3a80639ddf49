"""What a command signs in with: a client's id and secret, or the admin's token in the home."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlencode

from headrace import errors
from headrace.http_client import UP_COMMAND, Answer, Http
from headrace_api.home import Home

# The names that azure-identity's EnvironmentCredential reads.
ID_VARIABLE: Final = "AZURE_CLIENT_ID"
SECRET_VARIABLE: Final = "AZURE_CLIENT_SECRET"
TENANT_VARIABLE: Final = "AZURE_TENANT_ID"
TENANT: Final = "00000000-0000-0000-0000-000000000001"
ADFS: Final = "adfs"
"""The other name of this platform's tenant, which azure-identity asks nobody else about."""
TENANTS: Final = (TENANT, ADFS)
SCOPE: Final = "https://ml.azure.com/.default"  # good for control and for scoring
EARLY_S: Final = 300.0  # a token this near to its end is not used for another call
MAX_TOKEN_BYTES: Final = 16 * 1024
_ALL: Final = f"{ID_VARIABLE}, {SECRET_VARIABLE} and {TENANT_VARIABLE}={TENANT}"

Bearer = Callable[[Http], str]
"""The token for a call, which may have to be fetched."""


def credential(home: Home, environment: Mapping[str, str]) -> Bearer:
    """What to sign in with. Raises Unreachable when there is nothing.

    Without the tenant of this platform beside them the variables speak of another client, as on a
    machine that also works with Azure, and its secret is not ours to send.
    """
    client_id = environment.get(ID_VARIABLE, "")
    secret = environment.get(SECRET_VARIABLE, "")
    if client_id and secret and environment.get(TENANT_VARIABLE, "").lower() in TENANTS:
        return ClientCredential(client_id, secret)
    token = read_token(home)
    return lambda _: token


def read_token(home: Home) -> str:
    """The admin's token. Raises Unreachable when the platform was never started here."""
    try:
        with home.token.open("rb") as file:
            return file.read(MAX_TOKEN_BYTES).decode().strip()
    except FileNotFoundError:
        raise errors.Unreachable(
            f"no platform has been started in {home.root}",
            hint=f"{UP_COMMAND}, or --home, or {_ALL}",
        ) from None
    except OSError as error:
        raise errors.Unreachable(f"cannot read {home.token}: {error.strerror}") from error


class ClientCredential:
    """A client's tokens, from the platform's own issuer (RFC 6749 4.4), kept in memory alone."""

    def __init__(
        self, client_id: str, secret: str, *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._client_id = client_id
        self._secret = secret
        self._now_s = now_s
        self._token = ""
        self._good_until_s = 0.0

    def __call__(self, http: Http) -> str:
        """A token that is good for a while. Raises ApiError, CommandError, Unreachable."""
        if not self._token or self._now_s() >= self._good_until_s:
            self._fetch(http)
        return self._token

    def _fetch(self, http: Http) -> None:
        asked_s = self._now_s()
        form = {
            "grant_type": "client_credentials",
            "client_id": self._client_id,
            "client_secret": self._secret,
            "scope": SCOPE,
        }
        answer = http.send(
            "POST",
            f"/{TENANT}/oauth2/v2.0/token",
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            body=urlencode(form).encode(),
        )
        if answer.status != 200:
            raise _refusal(answer, self._client_id)
        try:
            found = answer.json()
            self._token = str(found["access_token"])
            self._good_until_s = asked_s + float(found["expires_in"]) - EARLY_S
        except (KeyError, TypeError, ValueError) as error:
            raise errors.CommandError("the issuer's answer contains no token") from error


def _refusal(answer: Answer, client_id: str) -> errors.ApiError:
    """RFC 6749 5.2 as an error of ours."""
    try:
        found = json.loads(answer.body)
        code, words = str(found["error"]), str(found["error_description"])
    except (ValueError, KeyError, TypeError):
        code, words = "", f"HTTP {answer.status}"
    error = errors.ApiError(
        answer.status, code, f"client {client_id[:64]!r} was refused a token: {words}"
    )
    if answer.status in (400, 401):
        error.hint = (
            f"it comes from {ID_VARIABLE} and {SECRET_VARIABLE}; unset them to act as the admin"
        )
    return error
