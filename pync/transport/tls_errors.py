"""What OpenSSL says, in our words and with our exit codes. Nothing above this ever sees an ssl.SSLError."""

import ssl
from collections.abc import Iterator

from pync.errors import IntegrityError, NetworkError, PyncError

TRUNCATED = "the TLS stream was truncated: the connection ended without the peer saying that it was whole"
TRUNCATED_HINT = (
    "--tls-allow-truncation takes that for an end, where the protocol inside says when it is complete"
)
NOT_TLS = "the peer does not speak TLS"

# Our answer to that, a fatal alert (unexpected_message): who speaks no TLS but knows it learns what is wrong.
UNEXPECTED = b"\x15\x03\x03\x00\x02\x02\x0a"

_ALERT, _HANDSHAKE = 21, 22  # record types

_CERT_HINT = "--tls-cert FILE --tls-key FILE present one"
# Codes of X509_verify_cert (openssl-verification-options(1)).
_UNKNOWN_ISSUER = frozenset({2, 18, 19, 20, 21})
_OTHER_NAME = frozenset({62, 63, 64})
_HINTS = {
    "issuer": "--tls-ca FILE trusts its issuer, --tls-fingerprint sha256:HEX pins this very certificate",
    "name": "--tls-name NAME says which name it should be for",
}

# Alerts (RFC 8446, 6.2) with which a peer refuses our certificate, or the lack of one.
_ABOUT_CERTIFICATES = {
    "NO_CERTIFICATE": "there was none",
    "BAD_CERTIFICATE": "bad certificate",
    "UNSUPPORTED_CERTIFICATE": "unsupported certificate",
    "CERTIFICATE_REVOKED": "it was revoked",
    "CERTIFICATE_EXPIRED": "it has expired",
    "CERTIFICATE_UNKNOWN": "not accepted",
    "UNKNOWN_CA": "unknown issuer",
    "ACCESS_DENIED": "access denied",
    "DECRYPT_ERROR": "its signature is wrong",
}
_WRONG_BYTES = frozenset(
    {"DECRYPTION_FAILED_OR_BAD_RECORD_MAC", "BAD_SIGNATURE", "DIGEST_CHECK_FAILED", "BAD_DECRYPT"}
)
_IN_WORDS = {
    "NO_SHARED_CIPHER": "no cipher in common",
    "UNSUPPORTED_PROTOCOL": "no TLS version in common",
    "VERSION_TOO_LOW": "no TLS version in common",
    "PROTOCOL_VERSION": "no TLS version in common",
    "NO_APPLICATION_PROTOCOL": "no ALPN protocol in common",
    "UNRECOGNIZED_NAME": "the peer does not serve that name",
    "INSUFFICIENT_SECURITY": "our ciphers are not good enough for the peer",
}
# Alerts for which Python may have no name (RFC 6066, 7301).
_UNNAMED = {112: "UNRECOGNIZED_NAME", 120: "NO_APPLICATION_PROTOCOL"}


def explain(
    error: ssl.SSLError, *, server: bool, doing: str, established: bool, received: bytes = b""
) -> PyncError:
    """The PyncError for `error`; `doing` is put before its words. `established`: after the handshake.
    `received` is what came during it, for an error without a name.

    A listener's failed handshake is exit 4 whatever the reason, as the contract has it for one-shot
    listeners.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return _not_trusted(error, server, doing)
    name = error.reason or _alert(received)
    _, alert, alert_name = name.partition("ALERT_")
    if alert and (certificate := _about_our_certificate(alert_name, server, doing)):
        return certificate
    if name == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return IntegrityError(f"{doing}: the client gave no certificate")
    key = alert_name or name
    words = _IN_WORDS.get(key) or key.lower().replace("_", " ") or "unknown failure"
    if alert:
        kind = IntegrityError if server and not established else NetworkError
        return kind(f"{doing}: the peer gave up the connection ({words})")
    if established or name in _WRONG_BYTES:
        return IntegrityError(f"{doing}: wrong bytes in the TLS stream ({words})")
    return (IntegrityError if server else NetworkError)(f"{doing}: the handshake failed ({words})")


def _not_trusted(error: ssl.SSLCertVerificationError, server: bool, doing: str) -> IntegrityError:
    whose = "the client's certificate is" if server else "the certificate is"
    words = error.verify_message.rstrip(".")
    hint = None
    if not server and error.verify_code in _UNKNOWN_ISSUER:
        hint = _HINTS["issuer"]
    elif not server and error.verify_code in _OTHER_NAME:
        hint = _HINTS["name"]
    if words[:1].isupper() and words[1:2].islower():  # not "IP address mismatch"
        words = words[0].lower() + words[1:]
    return IntegrityError(f"{doing}: {whose} not trusted: {words}", hint=hint)


def _about_our_certificate(alert: str, server: bool, doing: str) -> IntegrityError | None:
    if alert == "CERTIFICATE_REQUIRED":
        return certificate_required(doing)
    words = _ABOUT_CERTIFICATES.get(alert)
    if words is None:
        return None
    who = "client" if server else "server"
    return IntegrityError(
        f"{doing}: the {who} does not accept our certificate ({words})", hint=None if server else _CERT_HINT
    )


def certificate_required(doing: str) -> IntegrityError:
    return IntegrityError(f"{doing}: the server requires a client certificate", hint=_CERT_HINT)


def _records(received: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of the records (RFC 8446, 5.1) before encryption starts."""
    at = 0
    while at + 5 <= len(received) and received[at] in (_ALERT, _HANDSHAKE):
        size = int.from_bytes(received[at + 3 : at + 5], "big")
        yield received[at], received[at + 5 : at + 5 + size]
        at += 5 + size


def _alert(received: bytes) -> str:
    """The name of the alert that came, as OpenSSL would have it; "" when there was none we know."""
    for kind, body in _records(received):
        if kind == _ALERT and len(body) == 2 and body[1] in _UNNAMED:
            return f"ALERT_{_UNNAMED[body[1]]}"
    return ""


def asked_for_certificate(received: bytes) -> bool:
    """Did a TLS 1.2 server send a CertificateRequest? `received` is all it sent, a fatal alert last.

    Such a server answers a missing certificate with a mere handshake_failure, which may mean anything.
    """
    messages = b"".join(body for kind, body in _records(received) if kind == _HANDSHAKE)
    at = 0
    while at + 4 <= len(messages):
        if messages[at] == 13:
            return True
        at += 4 + int.from_bytes(messages[at + 1 : at + 4], "big")
    return False
