"""The local CA and the servers' certificate: made on first start, reissued before they expire.

<home>/ca.pem             the CA's certificate, for clients to trust
<home>/tls/ca.key         the CA's key
<home>/tls/server.pem     certificate of control and ingress
<home>/tls/server.key     its key
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from headrace_api.home import Home
from headrace_api.private_files import PRIVATE_FOLDER, read_private, write_private

CA_LIFETIME: Final = timedelta(days=3650)
SERVER_LIFETIME: Final = timedelta(days=397)  # what browsers accept at most
RENEW_BEFORE: Final = timedelta(days=30)
BACKDATED: Final = timedelta(hours=1)  # for clients whose clock is behind
PUBLIC_MODE: Final = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """Where the parts of a TLS server lie."""

    ca: Path
    certificate: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        """TLS 1.2 and newer, with this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.certificate, self.key)
        return context


def ensure_certificates(home: Home, *, public_urls: tuple[str, ...] = ()) -> Certificates:
    """Make what is missing, expiring or short of a name; keep the rest. Blocks for milliseconds.

    The names are localhost, 127.0.0.1, ::1, this host's name and the hosts of `public_urls`. Names
    that an earlier call asked for are kept. Any number of processes may call it at once.
    """
    found = Certificates(
        ca=home.ca, certificate=home.tls / "server.pem", key=home.tls / "server.key"
    )
    with _locked(home.tls):
        authority = _authority(home)
        current = _read_certificate(found.certificate)
        wanted = _names(public_urls) | (_names_of(current) if current else set())
        if current is None or not _serves(current, authority, wanted) or not found.key.exists():
            _issue(authority, found, wanted)
    return found


@dataclass(frozen=True, slots=True)
class _Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(PRIVATE_FOLDER)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _authority(home: Home) -> _Authority:
    key_path = home.tls / "ca.key"
    certificate = _read_certificate(home.ca)
    if certificate is None or not _is_fresh(certificate) or not key_path.exists():
        return _new_authority(home)
    key = _load_key(key_path)
    # A pair that does not match would issue certificates that nobody trusts.
    if key is None or key.public_key() != certificate.public_key():
        return _new_authority(home)
    return _Authority(certificate, key)


def _new_authority(home: Home) -> _Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Headrace local CA")])
    public = key.public_key()
    certificate = (
        _builder(name, name, public, CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_private(home.tls / "ca.key", _pem(key))
    _write_public(home.ca, certificate)
    return _Authority(certificate, key)


def _issue(authority: _Authority, target: Certificates, names: set[str]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Headrace")])
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    certificate = (
        _builder(subject, authority.certificate.subject, public, SERVER_LIFETIME)
        .add_extension(x509.SubjectAlternativeName(_general_names(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(identifier, critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    write_private(target.key, _pem(key))
    _write_public(target.certificate, certificate)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, lifetime: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + lifetime)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _names(public_urls: tuple[str, ...]) -> set[str]:
    hosts = {urlsplit(url).hostname or "" for url in public_urls}
    return {"localhost", "127.0.0.1", "::1", socket.gethostname()} | (hosts - {""})


def _general_names(names: set[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in sorted(names):
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name.encode("idna").decode()))
    return found


def _names_of(certificate: x509.Certificate) -> set[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return set()
    dns = extension.value.get_values_for_type(x509.DNSName)
    addresses = extension.value.get_values_for_type(x509.IPAddress)
    return set(dns) | {str(address) for address in addresses}


def _serves(certificate: x509.Certificate, authority: _Authority, names: set[str]) -> bool:
    if not _is_fresh(certificate) or not names <= _names_of(certificate):
        return False
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _is_fresh(certificate: x509.Certificate) -> bool:
    return certificate.not_valid_after_utc - RENEW_BEFORE > datetime.now(UTC)


def _read_certificate(path: Path) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return None


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey | None:
    try:
        key = serialization.load_pem_private_key(read_private(path), password=None)
    except (OSError, ValueError):
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) else None


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write_public(path: Path, certificate: x509.Certificate) -> None:
    data = certificate.public_bytes(serialization.Encoding.PEM)
    write_private(path, data, mode=PUBLIC_MODE)
