"""Which wishes a running platform does not fulfil."""

from __future__ import annotations

import pytest

from headrace.platform.running import differences

RUNNING = {
    "--control-port": "9443",
    "--ingress-port": "8443",
    "--http-port": "8080",
    "--console-port": "9080",
    "--nats-port": "4222",
    "--nats": "nats://127.0.0.1:4222",
    "--nats-creds": "control.creds",
}
OTHER = [(flag, f"{value}1") for flag, value in RUNNING.items()]


@pytest.mark.parametrize(("flag", "value"), OTHER)
def test_each_flag_with_another_value_is_named(flag: str, value: str) -> None:
    assert differences({flag: value}, RUNNING) == {flag: (value, RUNNING[flag])}


def test_what_runs_already_and_any_free_port_are_fulfilled() -> None:
    assert differences({}, RUNNING) == {}
    assert differences(RUNNING, RUNNING) == {}
    assert differences({"--http-port": "0"}, RUNNING) == {}
