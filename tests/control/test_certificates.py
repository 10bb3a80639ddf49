"""Certificates: made once, trusted by the CA file alone, renewed in time, safe when two start."""

from __future__ import annotations

import socket
import ssl
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from headrace_api.home import Home
from headrace_services import certificates
from headrace_services.certificates import Certificates, ensure_certificates


def _handshake(served: Certificates, name: str) -> None:
    """Raises ssl.SSLError unless a client that trusts the CA file accepts the name."""
    client_end, server_end = socket.socketpair()
    client = ssl.create_default_context(cafile=served.ca)
    errors: list[Exception] = []

    def serve() -> None:
        try:
            with served.server_context().wrap_socket(server_end, server_side=True):
                pass
        except (ssl.SSLError, OSError) as error:
            errors.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(client_end, server_hostname=name):
            pass
    finally:
        client_end.close()
        thread.join()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", socket.gethostname()])
def test_a_client_that_trusts_ca_pem_accepts_every_local_name(tmp_path: Path, name: str) -> None:
    _handshake(ensure_certificates(Home(tmp_path)), name)


def test_endpoints_below_a_domain_are_accepted_once_it_is_asked_for(tmp_path: Path) -> None:
    """As the ingress asks where HEADRACE_INGRESS_DOMAIN is set."""
    served = ensure_certificates(Home(tmp_path), public_urls=("https://*.ml.example.org",))
    _handshake(served, "houses.ml.example.org")
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(served, "a.b.ml.example.org")


def test_a_name_that_nobody_asked_for_is_not_served(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(ensure_certificates(Home(tmp_path)), "example.org")


def test_keys_are_private_and_the_ca_is_public(tmp_path: Path) -> None:
    home = Home(tmp_path)
    served = ensure_certificates(home)

    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in (served.ca, served.key, home.tls / "ca.key", home.tls)
    }

    assert modes == {"ca.pem": 0o644, "server.key": 0o600, "ca.key": 0o600, "tls": 0o700}


def test_a_second_start_keeps_what_clients_trust(tmp_path: Path) -> None:
    first = ensure_certificates(Home(tmp_path))
    before = first.ca.read_bytes(), first.certificate.read_bytes()

    second = ensure_certificates(Home(tmp_path))

    assert (second.ca.read_bytes(), second.certificate.read_bytes()) == before


def test_a_public_host_is_added_and_stays(tmp_path: Path) -> None:
    ensure_certificates(Home(tmp_path), public_urls=("https://models.example:9443",))

    served = ensure_certificates(Home(tmp_path))

    _handshake(served, "models.example")


def test_a_certificate_near_its_end_is_reissued_by_the_same_ca(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "SERVER_LIFETIME", timedelta(days=29))
    old = ensure_certificates(Home(tmp_path))
    before, ca = old.certificate.read_bytes(), old.ca.read_bytes()
    monkeypatch.undo()

    served = ensure_certificates(Home(tmp_path))

    assert served.certificate.read_bytes() != before
    assert served.ca.read_bytes() == ca


def test_a_lost_ca_key_makes_a_pair_that_matches_again(tmp_path: Path) -> None:
    home = Home(tmp_path)
    ensure_certificates(home)
    (home.tls / "ca.key").unlink()

    _handshake(ensure_certificates(home), "localhost")


def test_starts_at_the_same_time_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        served = list(pool.map(lambda _: ensure_certificates(Home(tmp_path)), range(8)))

    assert len({one.ca.read_bytes() for one in served}) == 1
    _handshake(served[0], "localhost")
