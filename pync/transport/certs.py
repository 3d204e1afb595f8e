"""Certificates: fingerprints, what a certificate says, and the temporary one of a listener without any.

`cryptography` is imported only where nothing of the standard library does: its import costs as much as the
whole rest of a connect.
"""

import hashlib
import os
import ssl
from typing import Any

# Peers pin the fingerprint, which knows no dates; those who do look at them get a year, and a day for clocks.
_LIFETIME_DAYS = 365


def fingerprint(der: bytes) -> str:
    """`sha256:` and 64 hexadecimal digits, over the whole certificate."""
    return "sha256:" + hashlib.sha256(der).hexdigest()


def ephemeral(names: list[str]) -> tuple[bytes, bytes]:
    """A new self-signed certificate for `names` (host names and addresses) and its key, both PEM."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    key = ec.generate_private_key(ec.SECP256R1())  # signs a handshake twenty times as fast as RSA
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "pync temporary certificate")])
    now = datetime.datetime.now(datetime.UTC)
    usage = dict.fromkeys(_KEY_USAGES, False) | {"digital_signature": True, "key_cert_sign": True}
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_LIFETIME_DAYS))
        # A CA of itself, as `openssl req -x509` makes it: it then works as a --tls-ca file too.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    alternatives = _alternatives(names)
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    encoding = serialization.Encoding.PEM
    secret = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(encoding), secret


_KEY_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def _alternatives(names: list[str]) -> list[Any]:
    import ipaddress

    from cryptography import x509

    found: list[Any] = []
    for name in dict.fromkeys(names):
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name.partition("%")[0])))
        except ValueError:
            if name and name.isascii():
                found.append(x509.DNSName(name))
    return found


def use(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Make `context` present that PEM certificate. The key never touches a disk where memory files exist."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("pync")
        try:
            os.write(fd, certificate + key)
            context.load_cert_chain(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
        return
    import tempfile

    with tempfile.NamedTemporaryFile() as file:  # mode 0600
        file.write(certificate + key)
        file.flush()
        context.load_cert_chain(file.name)


def presented(context: ssl.SSLContext) -> bytes | None:
    """The certificate (DER) that a listener's `context` presents, which only a handshake tells.

    None where TLS ends at 1.2 and the listener wants a certificate of the client's first.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking, answering = client.wrap_bio(down, up), context.wrap_bio(up, down, server_side=True)
    try:
        while not _shaken(asking):
            _shaken(answering)
    except ssl.SSLError:
        return None
    return asking.getpeercert(binary_form=True)


def _shaken(side: ssl.SSLObject) -> bool:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def describe(der: bytes, verified: dict[str, Any] | None) -> dict[str, Any]:
    """Facts of a certificate: subject, sans, expires (UTC), fingerprint.

    `verified` is what getpeercert() gave; it is empty for a certificate that nobody verified.
    """
    fields = verified or _decode_authority(der) or _decode(der)
    subject = [f"{_short(name)}={value}" for part in fields.get("subject", ()) for name, value in part]
    sans = [f"{kind}:{value}" for kind, value in fields.get("subjectAltName", ())]
    return {
        "subject": _printable(", ".join(subject)),
        "sans": [_printable(name.replace("IP Address:", "IP:")) for name in sans],
        "expires": _iso(ssl.cert_time_to_seconds(fields["notAfter"])),
        "fingerprint": fingerprint(der),
    }


def _decode_authority(der: bytes) -> dict[str, Any] | None:
    """The fields as the ssl module decodes them, which it does for CA certificates in a store.

    Most self-signed ones are such, those of our own listeners too, and it saves the import below.
    """
    store = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        store.load_verify_locations(cadata=der)
        found = store.get_ca_certs()
    except (ssl.SSLError, ValueError):
        return None
    return dict(found[0]) if found else None


def _decode(der: bytes) -> dict[str, Any]:
    from cryptography import x509

    try:
        certificate = x509.load_der_x509_certificate(der)
        names = [((part.rfc4514_attribute_name, str(part.value)),) for part in certificate.subject]
        ends = certificate.not_valid_after_utc.strftime("%b %d %H:%M:%S %Y GMT")
        sans = [] if (found := _sans(certificate)) is None else found
    except ValueError:  # OpenSSL took it, a stricter parser does not
        return {"notAfter": "Jan  1 00:00:00 1970 GMT"}
    return {"subject": names, "subjectAltName": sans, "notAfter": ends}


def _sans(certificate: Any) -> list[tuple[str, str]] | None:
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    kinds: dict[type, str] = {x509.DNSName: "DNS", x509.IPAddress: "IP", x509.RFC822Name: "email"}
    return [(kinds.get(type(name), "other"), str(name.value)) for name in names]


_SHORT = {
    "commonName": "CN",
    "countryName": "C",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
}


def _short(name: str) -> str:
    return _SHORT.get(name, name)


def _printable(text: str) -> str:
    """Text of a stranger, fit for a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _iso(seconds: float) -> str:
    import time

    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
