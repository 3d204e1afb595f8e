"""What the user asked of TLS, and the contexts made of it: once a run, reused for every connection."""

import os
import ssl
from collections.abc import Sequence
from typing import Any

from pync.endpoint import is_literal
from pync.errors import IntegrityError, LocalError, UsageError, reason
from pync.transport import certs
from pync.transport.channel import CHUNK

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

INSECURE = "the peer's certificate was not verified (--tls-insecure): anybody could be at the other end"


class TlsSettings:
    """Files are read when a context is made; what is wrong with the words is a UsageError at once."""

    def __init__(
        self,
        *,
        ca: str | None = None,
        fingerprint: str | None = None,
        insecure: bool = False,
        cert: str | None = None,
        key: str | None = None,
        client_ca: str | None = None,
        name: str | None = None,
        alpn: str | Sequence[str] = (),
        minimum: str = "1.2",
        allow_truncation: bool = False,
    ) -> None:
        self.ca = ca
        self.pin = parse_fingerprint(fingerprint) if fingerprint is not None else ""
        self.insecure = insecure
        self.cert = cert
        self.key = key
        self.client_ca = client_ca
        self.name = name
        self.alpn = _protocols(alpn)
        self.allow_truncation = allow_truncation
        if minimum not in _VERSIONS:
            raise UsageError(f"--tls-min {minimum}: pync knows 1.2 and 1.3")
        if key is not None and cert is None:
            raise UsageError("--tls-key needs --tls-cert")
        self.minimum = minimum
        # Where records are read to on their way into OpenSSL. One for all connections: a run has one thread.
        # Not at offset 16 of a page, where malloc puts large blocks: the kernel copies there 4x slower.
        self.scratch = memoryview(bytearray(CHUNK + 48))[48:]
        self._contexts: dict[bool, ssl.SSLContext] = {}
        self._own: bytes | None = None  # DER of the certificate that a listener made

    @classmethod
    def from_options(cls, options: Any) -> "TlsSettings":
        """From any Options that has the `tls_*` attributes."""
        return cls(
            ca=options.tls_ca,
            fingerprint=options.tls_fingerprint,
            insecure=options.tls_insecure,
            cert=options.tls_cert,
            key=options.tls_key,
            client_ca=options.tls_client_ca,
            name=options.tls_name,
            alpn=options.tls_alpn,
            minimum=options.tls_min,
            allow_truncation=options.tls_allow_truncation,
        )

    def for_proxy(self) -> "TlsSettings":
        """For the TLS to an https:// proxy: the same trust, while identities and pins are the target's."""
        return TlsSettings(ca=self.ca, insecure=self.insecure, minimum=self.minimum, allow_truncation=True)

    @property
    def verifies(self) -> bool:
        """A client checks chain and name, unless it pins or was told to trust everybody."""
        return not self.insecure and (not self.pin or self.ca is not None)

    def context(self, *, server: bool, names: Sequence[str] = ()) -> ssl.SSLContext:
        """The context for one role. `names`: what a certificate made here is to be for."""
        context = self._contexts.get(server)
        if context is None:
            context = self._contexts[server] = self._server(names) if server else self._client()
        return context

    def listener_facts(
        self, host: str, port: int, path: str = "", *, client: str = "connect", then: str = ""
    ) -> dict[str, Any]:
        """Facts of the `secured` event of a listener on `host`:`port` or the Unix `path`.

        {} with a certificate of the user's, else `listener`, `fingerprint`, and `command`, what to type at
        the other end: `client` is what runs there, `then` what follows. Raises LocalError and UsageError for
        unusable files: call it before saying `listening`.
        """
        import socket

        mine = socket.gethostname()
        anywhere = host in ("", "0.0.0.0", "::")
        names = [*([] if anywhere else [host]), "localhost", "127.0.0.1", "::1", mine]
        self.context(server=True, names=names)
        if self._own is None:
            return {}
        mark = self.own_fingerprint()
        where = f"{mine if anywhere else host} {port}" if port else f"unix:{path or 'PATH'}"
        command = f"pync {client} --tls {where} --tls-fingerprint {mark}{then}"
        return {"listener": True, "fingerprint": mark, "command": command}

    def own_fingerprint(self) -> str:
        """Of the certificate that we present as a listener; empty in the rare case that it cannot be told."""
        shown = self._own or certs.presented(self.context(server=True))
        return certs.fingerprint(shown) if shown else ""

    def server_name(self, host: str | None) -> str | None:
        """What is verified and sent as SNI; raises UsageError where verifying lacks a name."""
        name = self.name or host or ""
        if not is_literal(name):
            name = name.removesuffix(".")
        elif ":" in name:
            name = name.partition("%")[0]
        if not name and self.verifies:
            raise UsageError("TLS needs a name to verify here", hint="--tls-name NAME, or --tls-fingerprint")
        return name or None

    def check_pin(self, der: bytes | None) -> None:
        """Raise IntegrityError unless the peer showed the pinned certificate."""
        if not self.pin:
            return
        import hmac

        shown = certs.fingerprint(der or b"")
        if not hmac.compare_digest(shown, self.pin):
            raise IntegrityError(f"the certificate is another one: {shown}", hint=f"pinned is {self.pin}")

    # --- contexts ----------------------------------------------------------------------------------

    def _client(self) -> ssl.SSLContext:
        context = self._common(ssl.PROTOCOL_TLS_CLIENT)
        if self.verifies:
            if self.ca is None:
                context.load_default_certs(ssl.Purpose.SERVER_AUTH)
            else:
                _trust(context, self.ca, "--tls-ca")
                # A file may hold an intermediate, or the server's own certificate: that is then what is
                # trusted.
                context.verify_flags |= getattr(ssl, "VERIFY_X509_PARTIAL_CHAIN", 0x80000)
        else:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert is not None:
            self._identify(context)
        return context

    def _server(self, names: Sequence[str]) -> ssl.SSLContext:
        if self.pin:
            hint = "a listener checks its clients with --tls-client-ca"
            raise UsageError("--tls-fingerprint pins a server's certificate", hint=hint)
        context = self._common(ssl.PROTOCOL_TLS_SERVER)
        # Nobody resumes sessions here, and a ticket that the client never reads turns its close into a reset.
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
        if self.cert is not None:
            self._identify(context)
        else:
            certificate, key = certs.ephemeral(list(names) or ["localhost"])
            certs.use(context, certificate, key)
            self._own = ssl.PEM_cert_to_DER_cert(certificate.decode())
        if self.client_ca is not None:
            _trust(context, self.client_ca, "--tls-client-ca")
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _common(self, protocol: int) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.minimum_version = _VERSIONS[self.minimum]
        # Nothing needs it, and without it reading never has to wait for writing.
        context.options |= ssl.OP_NO_RENEGOTIATION
        if self.alpn:
            context.set_alpn_protocols(self.alpn)
        return context

    def _identify(self, context: ssl.SSLContext) -> None:
        """Present --tls-cert and --tls-key; raises LocalError that names the file."""
        assert self.cert is not None
        _readable(self.cert, "--tls-cert")
        if self.key is not None:
            _readable(self.key, "--tls-key")
        holder = f"--tls-key {self.key}" if self.key is not None else f"--tls-cert {self.cert}"
        asked = False

        def password() -> str:
            nonlocal asked
            asked = True
            return _password(holder)

        try:
            context.load_cert_chain(self.cert, self.key, password)
        except ssl.SSLError as error:
            raise _unusable(error, self.cert, holder, asked) from None
        except (OSError, ValueError) as error:
            why = reason(error) if isinstance(error, OSError) else str(error)
            raise LocalError(f"{holder}: {why}") from None


def _unusable(error: ssl.SSLError, cert: str, holder: str, asked: bool) -> LocalError:
    if error.reason == "KEY_VALUES_MISMATCH":
        return LocalError(f"{holder}: the key does not belong to the certificate {cert}")
    if error.reason in ("EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"):
        return LocalError(f"--tls-cert {cert}: the key is too small or the digest too weak to be accepted")
    if asked:
        return LocalError(f"{holder}: wrong password for the key")
    return LocalError(
        f"{holder}: no usable PEM certificate and private key", hint="--tls-key names the key's file"
    )


def parse_fingerprint(text: str) -> str:
    """`sha256:HEX` in lower case, whichever way it was written (colons, capitals, without the prefix)."""
    kind, colon, rest = text.strip().lower().partition(":")
    digits = (rest if kind == "sha256" and colon else text.strip().lower()).replace(":", "")
    if len(digits) != 64 or digits.strip("0123456789abcdef"):
        raise UsageError("--tls-fingerprint takes sha256: and 64 hexadecimal digits")
    return "sha256:" + digits


def _protocols(alpn: str | Sequence[str]) -> list[str]:
    words = alpn.split(",") if isinstance(alpn, str) else [part for word in alpn for part in word.split(",")]
    names = [word.strip() for word in words if word.strip()]
    if any(not name.isascii() or len(name) > 255 for name in names):
        raise UsageError("--tls-alpn takes names of up to 255 ASCII characters")
    return names


def _readable(path: str, flag: str) -> None:
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise LocalError(f"{flag} {path}: {reason(error)}") from None


def _trust(context: ssl.SSLContext, path: str, flag: str) -> None:
    directory = os.path.isdir(path)
    if not directory:
        _readable(path, flag)
    try:
        context.load_verify_locations(None if directory else path, path if directory else None)
    except (ssl.SSLError, OSError):
        raise LocalError(f"{flag} {path}: no PEM certificates in it") from None


def _password(holder: str) -> str:
    """The password of an encrypted key: the environment's, else typed at the terminal."""
    words = os.environ.get("PYNC_TLS_PASSWORD")
    if words is not None:
        return words
    import getpass

    try:
        with open("/dev/tty"):
            pass
        return getpass.getpass(f"Password for {holder.partition(' ')[2]}: ")
    except (OSError, EOFError):
        raise LocalError(
            f"{holder}: the key is encrypted", hint="set PYNC_TLS_PASSWORD, or run it on a terminal"
        ) from None
