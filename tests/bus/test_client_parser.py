"""The parser finds the same messages however the server's bytes are cut."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_bus.client.headers import encode_headers, parse_headers
from headrace_bus.client.parser import MAX_LINE_BYTES, ProtocolError, StreamParser

Event = tuple[object, ...]


class Recorder:
    """A sink that keeps what it is told, in order."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, header: bytes | None
    ) -> None:
        self.events.append(("message", sid, subject, reply, data, header))

    def on_ping(self) -> None:
        self.events.append(("ping",))

    def on_pong(self) -> None:
        self.events.append(("pong",))

    def on_info(self, text: bytes) -> None:
        self.events.append(("info", text))

    def on_error(self, text: bytes) -> None:
        self.events.append(("error", text))


def parse(pieces: list[bytes]) -> list[Event]:
    recorder = Recorder()
    parser = StreamParser(recorder)
    for piece in pieces:
        parser.feed(piece)
    return recorder.events


def parse_into_room(pieces: list[bytes]) -> list[Event]:
    """As a socket does that writes the rest of an open body where the parser wants it."""
    recorder = Recorder()
    parser = StreamParser(recorder)
    for piece in pieces:
        rest = piece
        while rest:
            room = parser.room()
            if room is None:
                parser.feed(rest)
                break
            count = min(len(room), len(rest))
            room[:count] = rest[:count]
            parser.wrote(count)
            rest = rest[count:]
    return recorder.events


def message(
    sid: int, subject: bytes, reply: bytes, data: bytes, header: bytes | None
) -> tuple[bytes, Event]:
    words = [subject, b"%d" % sid, *([reply] if reply else [])]
    if header is None:
        line = b"MSG " + b" ".join([*words, b"%d" % len(data)])
        body = data
    else:
        body = header + data
        line = b"HMSG " + b" ".join([*words, b"%d" % len(header), b"%d" % len(body)])
    return line + b"\r\n" + body + b"\r\n", ("message", sid, subject, reply, data, header)


subjects = st.sampled_from([b"a", b"inst.ep.dep.iid", b"_INBOX.x.1"])
bodies = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"\r\n", b"MSG a 1 2\r\n", b"PING\r\n", bytes(70_000)]),
)
headers = st.one_of(
    st.none(), st.sampled_from([b"NATS/1.0 503\r\n\r\n", b"NATS/1.0\r\nA: b\r\n\r\n"])
)
messages = st.builds(
    message,
    st.integers(1, 10**6),
    subjects,
    st.one_of(st.just(b""), subjects),
    bodies,
    headers,
)
controls: st.SearchStrategy[tuple[bytes, Event | None]] = st.sampled_from(
    [
        (b"PING\r\n", ("ping",)),
        (b"PONG\r\n", ("pong",)),
        (b"+OK\r\n", None),
        (b'INFO {"a":1} \r\n', ("info", b'{"a":1}')),
        (b"-ERR 'Stale Connection'\r\n", ("error", b"'Stale Connection'")),
    ]
)
streams = st.lists(st.one_of(messages, controls), max_size=12)


@given(streams, st.data())
def test_any_split_gives_the_messages_of_the_unsplit_stream(
    stream: list[tuple[bytes, Event | None]], data: st.DataObject
) -> None:
    whole = b"".join(raw for raw, _ in stream)
    expected = [event for _, event in stream if event is not None]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=20)))
    ends = [*cuts, len(whole)]
    pieces = [whole[start:end] for start, end in zip([0, *cuts], ends, strict=True)]

    assert parse([whole]) == expected
    assert parse(pieces) == expected
    assert parse_into_room(pieces) == expected


def test_a_stream_that_comes_byte_by_byte_is_understood() -> None:
    raw = b"".join(
        message(1, b"a", reply, body, header)[0]
        for reply in (b"", b"r")
        for body in (b"", b"x", b"\r\n")
        for header in (None, b"NATS/1.0\r\n\r\n")
    )

    assert parse([bytes([byte]) for byte in raw]) == parse([raw])
    assert len(parse([raw])) == 12


@given(st.binary(max_size=60), st.integers(0, 60))
def test_arbitrary_bytes_end_in_a_protocol_error_or_nothing(raw: bytes, cut: int) -> None:
    with contextlib.suppress(ProtocolError):
        parse([raw[:cut], raw[cut:]])


@pytest.mark.parametrize(
    "line",
    [
        b"MSG a 1 -1\r\n",
        b"MSG a x 1\r\n",
        b"MSG a 1\r\n",
        b"MSG a 1 r s 1\r\n",
        b"MSG a 1 99999999999\r\n",
        b"HMSG a 1 20 10\r\n",
        b"HMSG a 1 0 10\r\n",
        b"MESSAGE\r\n",
        b"\r\n",
        bytes(MAX_LINE_BYTES + 1),
    ],
)
def test_what_no_server_sends_is_a_protocol_error(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse([line])


def test_headers_survive_the_wire_and_cannot_inject_a_line() -> None:
    raw = encode_headers({"A": "1", "Nats-Msg-Id": " x:y\r\nB: 2 "})

    assert parse_headers(raw) == {"A": "1", "Nats-Msg-Id": "x:y  B: 2"}


def test_an_inline_status_is_a_header() -> None:
    assert parse_headers(b"NATS/1.0 503\r\n\r\n") == {"Status": "503"}
    assert parse_headers(b"NATS/1.0 100 Idle Heartbeat\r\nA: b\r\n\r\n") == {
        "Status": "100",
        "Description": "Idle Heartbeat",
        "A": "b",
    }
