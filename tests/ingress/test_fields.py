"""Which fields of a model's answer leave the platform, and as what."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace_bus.wire.head import answer_head
from headrace_services.ingress.fields import MAX_OUT_CHARS, outward

OWN = "x-request-id: one\r\n"
NAMES = st.sampled_from(
    ["content-type", "x-a", "%s", "hr-size", "Hr-Body", "nats-msg-id", "connection", "date", "a\nb",
     "x score", "transfer-encoding ", "", "x: y", "x\t", "\u00e9"]
)  # fmt: skip
VALUES = st.text(alphabet="ab%:\r\n\u00e9\0", max_size=4)
PASSING = ("content-type", "x-a", "%s")


@given(st.lists(st.tuples(NAMES, VALUES), max_size=5))
def test_each_line_is_a_whole_field_that_may_pass(headers: list[tuple[str, str]]) -> None:
    lines = outward(answer_head(headers), "one", "").split("\r\n")
    clean = [(name, value.replace("\0", "")) for name, value in headers if name in PASSING]
    kept = [(name, value) for name, value in clean if "\r" not in value and "\n" not in value]
    assert lines == [OWN.rstrip(), *(f"{name}: {value}" for name, value in kept), ""]


@given(st.binary(max_size=40))
def test_any_bytes_of_a_model_are_whole_lines(head: bytes) -> None:
    text = outward(head, "one", "me")
    assert text.count("\r\n") == text.count("\r") == text.count("\n")
    assert text.startswith(OWN + "x-ms-client-request-id: me\r\n")


def test_no_more_fields_leave_than_a_client_reads() -> None:
    long, small = ("x-long", "a" * 3_000_000), ("x-small", "b")
    assert outward(answer_head([long, small]), "one", "") == OWN + "x-small: b\r\n"
    many = [(f"x-{number}", "c" * 1000) for number in range(100)]
    assert len(outward(answer_head(many), "one", "")) <= MAX_OUT_CHARS + len(OWN)
