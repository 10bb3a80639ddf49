"""Bus over TLS: encrypted with a known authority, and never without."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from headrace_bus.client.connection import Bus
from headrace_bus.client.settings import BusSettings
from headrace_bus.errors import BusDisconnected
from support.nats_server import NatsServer


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for the loopback address that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "server.pem", folder / "server.key"
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, private


@pytest.fixture(params=["after INFO", "at once"])
def tls_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NatsServer]:
    certificate, private = write_certificate(tmp_path)
    first = "true" if request.param == "at once" else "false"
    lines = [f'cert_file: "{certificate}"', f'key_file: "{private}"', f"handshake_first: {first}"]
    extra = "\n".join(["tls {", *lines, "}"])
    with NatsServer(tmp_path / "server", extra=extra) as server:
        yield server


def settings(server: NatsServer, ca_file: Path | None) -> BusSettings:
    return BusSettings(
        url=server.url.replace("nats://", "tls://"),
        name="t",
        ca_file=ca_file,
        tls_handshake_first="handshake_first: true" in server.extra,
        connect_timeout_s=30.0 if ca_file else 0.5,
    )


async def test_large_bodies_cross_an_encrypted_connection_and_its_restart(
    tls_server: NatsServer, tmp_path: Path
) -> None:
    async with await Bus.connect(settings(tls_server, tmp_path / "server.pem")) as bus:
        await bus.subscribe("echo", lambda m: bus.publish(m.reply, m.data))
        body = b"0123456789" * 300_000
        assert (await bus.request("echo", body, 30)).data == body

        tls_server.restart()
        with contextlib.suppress(BusDisconnected):  # the old connection breaks under it
            await bus.flush(30)
        await bus.flush()
        assert (await bus.request("echo", body, 30)).data == body


async def test_an_authority_that_is_not_ours_is_refused(tls_server: NatsServer) -> None:
    with pytest.raises(BusDisconnected):
        await Bus.connect(settings(tls_server, None))
