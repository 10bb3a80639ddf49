"""Free ports that are chosen before anything runs, and nobody else's when their parts start."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack
from dataclasses import asdict

import pytest

from headrace.platform.ports import HOST, Ports


def bind(port: int) -> None:
    with socket.socket() as other:
        other.bind((HOST, port))


def test_a_free_port_that_was_chosen_is_given_to_nobody_before_it_is_let_go() -> None:
    """NATS takes a free port after them: it could be one of theirs."""
    with ExitStack() as claimed:
        chosen = asdict(Ports(control=0, ingress=0, http=0, console=0).settled(claimed))
        for port in chosen.values():
            with pytest.raises(OSError) as refused:  # noqa: PT011  (its number is looked at)
                bind(port)
            assert refused.value.errno == errno.EADDRINUSE

    assert len(set(chosen.values())) == len(chosen)
    for port in chosen.values():
        bind(port)
