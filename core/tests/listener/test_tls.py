"""The certificate of wire-video 2.2, kept across restarts."""

import datetime
import stat

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from podium.listener import self_signed
from podium.listener.errors import CertificateError


def loaded(files):
    return x509.load_pem_x509_certificate(files.cert.read_bytes())


@pytest.mark.parametrize("host", ["node.example", "127.0.0.1", "2001:db8::1"])
def test_the_certificate_is_the_references(tmp_path, host):
    before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    files = self_signed(tmp_path / "new", host)
    certificate = loaded(files)
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    assert isinstance(certificate.public_key().curve, ec.SECP256R1)
    assert isinstance(certificate.signature_hash_algorithm, hashes.SHA256)
    assert certificate.version == x509.Version.v3
    assert list(certificate.subject) == []
    assert certificate.serial_number < 2**128
    certificate.verify_directly_issued_by(certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.DNSName(host)]
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_cert_sign
    assert usage.digital_signature
    assert not usage.crl_sign
    assert not usage.key_encipherment
    extended = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(extended) == [ExtendedKeyUsageOID.SERVER_AUTH]
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert lifetime == datetime.timedelta(hours=8765)
    assert certificate.not_valid_before_utc >= before
    assert files.cert.read_text().startswith("-----BEGIN CERTIFICATE-----")
    assert files.key.read_text().startswith("-----BEGIN EC PRIVATE KEY-----")
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600
    assert {path.name for path in files.cert.parent.iterdir()} == {"cert.pem", "key.pem"}


def test_it_is_kept_while_it_serves(tmp_path):
    first = loaded(self_signed(tmp_path, "a.example"))
    assert loaded(self_signed(tmp_path, "a.example")) == first
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=330)
    assert loaded(self_signed(tmp_path, "a.example", later)) == first


@pytest.mark.parametrize(
    "spoil", ["no cert", "no key", "broken cert", "broken key", "other key", "other host", "old"]
)
def test_it_is_replaced_when_it_does_not(tmp_path, spoil):
    files = self_signed(tmp_path, "a.example")
    first = loaded(files)
    host, now = "a.example", datetime.datetime.now(datetime.UTC)
    match spoil:
        case "no cert":
            files.cert.unlink()
        case "no key":
            files.key.unlink()
        case "broken cert":
            files.cert.write_text("broken")
        case "broken key":
            files.key.write_text("broken")
        case "other key":
            other = self_signed(tmp_path / "other", host)
            files.key.write_bytes(other.key.read_bytes())
        case "other host":
            host = "b.example"
        case "old":
            now += datetime.timedelta(days=350)
    fresh = self_signed(tmp_path, host, now)
    assert loaded(fresh) != first
    fresh.context(["h2"])


def test_a_directory_that_cannot_be_written_is_a_typed_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CertificateError):
        self_signed(tmp_path / "file", "a.example")


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        ("no cert", "cannot read the certificate {cert}: No such file or directory"),
        ("no key", "cannot read the key {key}: No such file or directory"),
        ("broken cert", "{cert} does not hold a certificate in PEM"),
        ("broken key", "{key} does not hold a private key in PEM"),
        ("encrypted key", "the key {key} is encrypted: it must be without a password"),
        ("other key", "{key} is not the key of the certificate {cert}"),
        ("key of another kind", "{key} is not the key of the certificate {cert}"),
    ],
)
def test_files_that_cannot_be_used_are_told_apart(tmp_path, spoil, text):
    files = self_signed(tmp_path, "a.example")
    files.context(["h2"])
    key = ec.generate_private_key(ec.SECP256R1())
    match spoil:
        case "no cert":
            files.cert.unlink()
        case "no key":
            files.key.unlink()
        case "broken cert":
            files.cert.write_text("broken")
        case "broken key":
            files.key.write_text("broken")
        case "encrypted key":
            files.key.write_bytes(pem(key, serialization.BestAvailableEncryption(b"secret")))
        case "other key":
            files.key.write_bytes(pem(key))
        case "key of another kind":
            files.key.write_bytes(pem(rsa.generate_private_key(65537, 2048)))
    with pytest.raises(CertificateError) as caught:
        files.context(["h2"])
    assert str(caught.value) == text.format(cert=files.cert, key=files.key)


def pem(key, encryption=None):
    encryption = encryption or serialization.NoEncryption()
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
