"""The port's certificate: self-signed and kept, or the operator's."""

from __future__ import annotations

import datetime
import os
import ssl
from typing import TYPE_CHECKING

from attrs import frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from podium.listener.errors import CertificateError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_VALIDITY = datetime.timedelta(hours=8765)
_RENEW_BEFORE = datetime.timedelta(days=30)


@frozen
class TlsFiles:
    """Where a certificate chain and its key lie, as PEM.

    Attributes:
        cert: The certificate, followed by intermediates if any.
        key: Its private key, unencrypted.
    """

    cert: Path
    key: Path

    def context(self, alpn_protocols: Sequence[str]) -> ssl.SSLContext:
        """A server context: TLS 1.2 or later, with or without ALPN and SNI.

        Args:
            alpn_protocols: In our order of preference.

        Raises:
            CertificateError: The files cannot be read or do not match.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        context.set_alpn_protocols(list(alpn_protocols))
        try:
            # With a password given, OpenSSL does not ask for one on the terminal.
            context.load_cert_chain(self.cert, self.key, password="")
        except OSError as error:  # ssl.SSLError is one, and says little
            raise CertificateError(_fault(self) or f"{self.cert}: {error}") from error
        return context


def _fault(files: TlsFiles) -> str | None:
    """Say which of two files that cannot be used is at fault, and why."""
    try:
        certificate = x509.load_pem_x509_certificate(files.cert.read_bytes())
    except OSError as error:
        return f"cannot read the certificate {files.cert}: {error.strerror}"
    except ValueError:
        return f"{files.cert} does not hold a certificate in PEM"
    try:
        key = serialization.load_pem_private_key(files.key.read_bytes(), password=None)
    except OSError as error:
        return f"cannot read the key {files.key}: {error.strerror}"
    except TypeError:
        return f"the key {files.key} is encrypted: it must be without a password"
    except (ValueError, UnsupportedAlgorithm):
        return f"{files.key} does not hold a private key in PEM"
    if certificate.public_key() != key.public_key():
        return f"{files.key} is not the key of the certificate {files.cert}"
    return None


def self_signed(directory: Path, host: str, now: datetime.datetime | None = None) -> TlsFiles:
    """The node's own certificate for a host, made when there is none that serves.

    Kept across restarts, unlike go-livepeer's, so that clients who pin it can.
    A new one replaces files that are missing or unreadable, for another host,
    or within 30 days of their end.

    Args:
        directory: Receives ``cert.pem`` and ``key.pem`` (mode 0600).
        host: Host of the service URI; an IP address too becomes a DNS name.
        now: The time to judge by; the clock's when None.

    Raises:
        CertificateError: The files cannot be written.

    Source: go-livepeer server/cert.go; wire-video 2.2.
    """
    files = TlsFiles(directory / "cert.pem", directory / "key.pem")
    moment = now or datetime.datetime.now(datetime.UTC)
    if not _serves(files, host, moment):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(key, host, moment)
        key_pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        try:
            directory.mkdir(parents=True, exist_ok=True)
            _write_private(files.key, key_pem)
            _write_private(files.cert, certificate.public_bytes(serialization.Encoding.PEM))
        except OSError as error:
            raise CertificateError(f"cannot write the certificate: {error}") from error
    return files


def _serves(files: TlsFiles, host: str, moment: datetime.datetime) -> bool:
    """Whether both files are sound and for this host and time."""
    try:
        certificate = x509.load_pem_x509_certificate(files.cert.read_bytes())
        key = serialization.load_pem_private_key(files.key.read_bytes(), password=None)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        matches = certificate.public_key() == key.public_key()
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm, x509.ExtensionNotFound):
        return False
    timely = (
        certificate.not_valid_before_utc <= moment < certificate.not_valid_after_utc - _RENEW_BEFORE
    )
    return matches and timely and names.value.get_values_for_type(x509.DNSName) == [host]


def _certificate(
    key: ec.EllipticCurvePrivateKey, host: str, moment: datetime.datetime
) -> x509.Certificate:
    nobody = x509.Name([])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(nobody)
        .issuer_name(nobody)
        .public_key(key.public_key())
        .serial_number(int.from_bytes(os.urandom(16), "big") | 1)
        .not_valid_before(moment)
        .not_valid_after(moment + _VALIDITY)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        # An empty subject makes the alternative name critical (RFC 5280, 4.2.1.6).
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=True)
        .sign(key, hashes.SHA256())
    )


def _write_private(path: Path, content: bytes) -> None:
    """Replace a file whole, readable by its owner only."""
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(content)
    fresh.replace(path)
