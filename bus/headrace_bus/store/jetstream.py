"""The few JetStream calls the store needs, each bounded and safe to send again."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from headrace_bus.client.connection import Bus
from headrace_bus.client.headers import parse_headers
from headrace_bus.errors import BusDisconnected, JetStreamRefused, NoResponders, RequestTimeout
from headrace_telemetry.clock import monotonic

ATTEMPT_S: Final = 2.0  # one request
BOUND_S: Final = 10.0  # all attempts together: a restart of the server fits in
WRONG_LAST_SEQUENCE: Final = frozenset((10071, 10164))
_PAUSE_S: Final = 0.05
_NAME_IN_USE: Final = 10058
_NO_STREAM: Final = 10059
_NOT_FOUND: Final = frozenset((10037,))
_NOT_YET: Final = frozenset((10008, 10039))  # JetStream is starting up; its account is not there


class Stored(NamedTuple):
    """A message as a stream holds it."""

    sequence: int
    headers: Mapping[str, str]
    data: bytes


async def call(bus: Bus, api: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Ask `$JS.API.<api>`, again when nobody answers: only for what may be asked twice.

    Raises JetStreamRefused, BusDisconnected after BOUND_S.
    """
    give_up = monotonic() + BOUND_S
    while True:
        try:
            return await bus.jetstream_api(api, body, ATTEMPT_S)
        except (RequestTimeout, BusDisconnected) as error:
            await _pause(error, give_up)
        except JetStreamRefused as error:
            if error.err_code not in _NOT_YET:
                raise
            await _pause(error, give_up)


async def make_stream(bus: Bus, config: Mapping[str, Any]) -> None:
    """Create the stream of this configuration, or bring the one of its name up to date.

    One that is as wanted is left alone: a server short of room refuses even to create it again.
    More replicas than wanted stay, as somebody chose them.
    Raises JetStreamRefused, BusDisconnected after BOUND_S.
    """
    name = str(config["name"])
    found = await _configuration(bus, name)
    if found is None:
        try:
            await call(bus, f"STREAM.CREATE.{name}", config)
            return
        except JetStreamRefused as error:
            if error.err_code != _NAME_IN_USE:
                raise
        found = await _configuration(bus, name) or {}
    replicas = max(int(config["num_replicas"]), int(found.get("num_replicas", 1)))
    wanted = {**config, "num_replicas": replicas}
    if any((found.get(field) or 0) != (value or 0) for field, value in wanted.items()):
        await call(bus, f"STREAM.UPDATE.{name}", wanted)


async def _configuration(bus: Bus, name: str) -> dict[str, Any] | None:
    """Of the stream of this name, or None when there is none."""
    try:
        found: dict[str, Any] = (await call(bus, f"STREAM.INFO.{name}", {}))["config"]
    except JetStreamRefused as error:
        if error.err_code == _NO_STREAM:
            return None
        raise
    return found


async def store(bus: Bus, subject: str, data: bytes, headers: Mapping[str, str]) -> int:
    """Store one message and return its sequence number.

    The message carries an id, so that sending it again after a lost answer stores it once.
    Raises JetStreamRefused, BusDisconnected after BOUND_S.
    """
    give_up = monotonic() + BOUND_S
    headers = {**headers, "Nats-Msg-Id": uuid.uuid4().hex}
    while True:
        try:
            answer = await bus.request(subject, data, ATTEMPT_S, headers)
            return int(acknowledgement(subject, answer.data)["seq"])
        except (RequestTimeout, NoResponders, BusDisconnected) as error:
            await _pause(error, give_up)


async def last(bus: Bus, stream: str, subject: str) -> Stored | None:
    """The last message of a subject, or None. Raises JetStreamRefused, BusDisconnected."""
    return await _message(bus, stream, {"last_by_subj": subject})


async def at(bus: Bus, stream: str, sequence: int) -> Stored | None:
    """The message of this number, or None. Raises JetStreamRefused, BusDisconnected."""
    return await _message(bus, stream, {"seq": sequence})


async def _message(bus: Bus, stream: str, which: Mapping[str, Any]) -> Stored | None:
    try:
        answer = await call(bus, f"STREAM.MSG.GET.{stream}", which)
    except JetStreamRefused as error:
        if error.err_code in _NOT_FOUND:
            return None
        raise
    message = answer["message"]
    raw = base64.b64decode(message.get("hdrs", ""))
    data = base64.b64decode(message.get("data", ""))
    return Stored(int(message["seq"]), parse_headers(raw) if raw else {}, data)


def acknowledgement(subject: str, data: bytes) -> dict[str, Any]:
    """The server's answer to a stored message. Raises JetStreamRefused."""
    answer: dict[str, Any] = json.loads(data)
    if error := answer.get("error"):
        raise JetStreamRefused.of(f"publish to {subject}", error)
    return answer


async def _pause(error: Exception, give_up: float) -> None:
    if monotonic() >= give_up:
        raise BusDisconnected(
            f"JetStream did not answer within {BOUND_S:.0f} s: {error}",
            hint="check that nats-server runs and that these credentials allow the call",
        ) from error
    await asyncio.sleep(_PAUSE_S)
