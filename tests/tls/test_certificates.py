"""Certificates that are odd: without names, with all kinds of them, or not quite what the standard says."""

from __future__ import annotations

import datetime
import os
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pync.transport import certs


def der(*names: x509.GeneralName, subject: str = "odd") -> bytes:
    """A certificate that is no authority, for these names."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.COMMON_NAME, subject),
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Zoo"),
        ]
    )
    start = datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=1))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def test_what_a_certificate_says_though_nobody_verified_it() -> None:
    names = (
        x509.DNSName("a.example"),
        x509.RFC822Name("a@b.example"),
        x509.UniformResourceIdentifier("urn:x"),
    )
    whole = der(*names)
    facts = certs.describe(whole, None)
    assert facts["subject"] == "CN=odd, O=Zoo"
    assert facts["sans"] == ["DNS:a.example", "email:a@b.example", "other:urn:x"]
    assert facts["expires"] == "2024-05-07T07:08:09Z"
    assert facts["fingerprint"] == certs.fingerprint(whole)


def test_a_certificate_without_other_names() -> None:
    assert certs.describe(der(), None)["sans"] == []


def test_a_subject_that_would_move_the_cursor_is_shown_without_it() -> None:
    assert "\x1b" not in certs.describe(der(subject="\x1b[2Jclear"), None)["subject"]


def test_what_openssl_took_and_a_stricter_reader_does_not_still_has_its_fingerprint() -> None:
    broken = b"\x30\x03\x02\x01\x01"
    facts = certs.describe(broken, None)
    assert (facts["subject"], facts["sans"], facts["expires"]) == ("", [], "1970-01-01T00:00:00Z")
    assert facts["fingerprint"] == certs.fingerprint(broken)


@pytest.mark.parametrize("memory_files", [True, False])
def test_our_own_certificate_is_taken_with_and_without_memory_files(
    monkeypatch: pytest.MonkeyPatch, memory_files: bool
) -> None:
    if not memory_files:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    certificate, key = certs.ephemeral(["localhost", "127.0.0.1", "fe80::1%eth0", "", "bücher.example"])
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certs.use(server, certificate, key)
    names = x509.load_pem_x509_certificate(certificate).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert [str(name.value) for name in names.value] == ["localhost", "127.0.0.1", "fe80::1"]


def test_a_certificate_for_nobody_in_particular() -> None:
    certificate, _ = certs.ephemeral([])
    with pytest.raises(x509.ExtensionNotFound):
        x509.load_pem_x509_certificate(certificate).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
