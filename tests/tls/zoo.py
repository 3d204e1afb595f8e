"""A certificate zoo: one authority and everything that can be wrong with what it signs."""

import datetime
import ipaddress
from pathlib import Path
from typing import Any, NamedTuple, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Identity(NamedTuple):
    """A certificate, its key, and the intermediates to send along."""

    certificate: x509.Certificate
    key: Key
    chain: tuple[x509.Certificate, ...] = ()

    @property
    def fingerprint(self) -> str:
        return "sha256:" + self.certificate.fingerprint(hashes.SHA256()).hex()

    def certificates(self) -> bytes:
        every = (self.certificate, *self.chain)
        return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in every)

    def private(self, password: bytes | None = None) -> bytes:
        how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)

    def write(self, path: Path) -> str:
        """Everything in one PEM file; its name."""
        path.write_bytes(self.private() + self.certificates())
        return str(path)

    def without_chain(self) -> Self:
        return self._replace(chain=())

    def reversed_chain(self) -> Self:
        return self._replace(chain=self.chain[::-1])


class Authority:
    """A root, or an intermediate below `parent`."""

    def __init__(self, name: str = "zoo root", parent: "Authority | None" = None) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._parent = parent
        signer = parent or self
        builder = _builder(self.name, signer.name, self.key.public_key(), NOW - DAY, NOW + 30 * DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.certificate = builder.sign(signer.key, hashes.SHA256())

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        return () if self._parent is None else (self.certificate, *self._parent.chain)

    def write(self, path: Path) -> str:
        path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        return str(path)

    def issue(
        self,
        *names: str,
        subject: str = "zoo animal",
        begins: datetime.datetime = NOW - DAY,
        ends: datetime.datetime = NOW + 7 * DAY,
        key: Key | None = None,
        client: bool = False,
    ) -> Identity:
        """A certificate for these host names and addresses."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
        builder = _builder(who, self.name, key.public_key(), begins, ends)
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_name(name) for name in names]), False
            )
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        return Identity(builder.sign(self.key, hashes.SHA256()), key, self.chain)


def self_signed(*names: str, subject: str = "zoo hermit") -> Identity:
    """A certificate that nobody else vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    builder = _builder(who, who, key.public_key(), NOW - DAY, NOW + 7 * DAY)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), False)
    return Identity(builder.sign(key, hashes.SHA256()), key)


def weak_key() -> rsa.RSAPrivateKey:
    """RSA of a size that OpenSSL's security level 2 refuses."""
    return rsa.generate_private_key(65537, 1024)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Any, begins: Any, ends: Any
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
