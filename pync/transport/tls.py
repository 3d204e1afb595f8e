"""TLS over any channel: a socket, a tunnel through proxies, another TLS.

    channel = await start_tls(loop, channel, settings, server=False, name=host, deadline=deadline)
    report(Event("secured", channel.secured()))

A listener calls `settings.listener_facts(host, port)` before it says that it listens, and then for each
client, in that client's own task, `start_tls(..., server=True, name=None, deadline=...)`.

OpenSSL works on memory here and never on the descriptor: a record layer that reads for itself costs two
system calls for every 16 KiB record, this one costs one for every 256 KiB. `write` behaves as OpenSSL's own
does: after a "not now" the same bytes have to be offered again first, since they are encrypted already and on
their way.

The end: our close_notify ends our direction. In TLS 1.3 the other goes on; in TLS 1.2 it obliges the peer to
stop (RFC 5246, 7.2.1), so `half_close` is False there and a relay waits for the peer's end first. A
connection that ends without the peer's close_notify is truncated: somebody may have cut it, so it raises
instead of looking like an end.
"""

import socket
import ssl
from collections.abc import Callable
from typing import Any

from pync.errors import IntegrityError, NetworkError, PyncError, TimedOut, UsageError, translate
from pync.loop import Loop
from pync.transport import certs, tls_errors
from pync.transport.channel import CHUNK, WANT_READ, Channel, ready, sooner
from pync.transport.stream import StreamSocket
from pync.transport.tls_settings import INSECURE, TlsSettings

__all__ = ["TlsChannel", "TlsSettings", "start_tls"]

_FIRST_GULP = 1 << 14  # doubles whenever it was filled: ten thousand idle clients must not cost 256 KiB each
_KEPT_OF_HANDSHAKE = 1 << 16
_EARLY_LIMIT = 1 << 20  # plaintext read ahead of the one who reads it, for the sake of an alert behind it
_LINGER_SECONDS = 1.0
_TLS_RECORDS = (b"\x16", b"\x15")  # a handshake starts with one of them: 22 handshake, 21 alert


async def start_tls(
    loop: Loop,
    channel: Channel,
    settings: TlsSettings,
    *,
    server: bool,
    name: str | None,
    deadline: float | None,
    idle: float | None = None,
) -> "TlsChannel":
    """`channel` with TLS on it, handshake done and the peer verified as `settings` ask.

    `name` is the host that was asked for. Owns `channel`: closes it when it raises. Raises TimedOut at the
    deadline or when nothing moved for `idle` seconds, IntegrityError when somebody's certificate is not
    accepted, NetworkError for a peer that does not speak TLS.
    """
    try:
        secured = TlsChannel(channel, settings, server=server, name=name)
        try:
            await secured.handshake(loop, deadline, idle)
        except IntegrityError:
            if server:
                await _linger(loop, channel)
            raise
        _hurry(channel)
        return secured
    except BaseException as error:
        channel.detach(loop)
        channel.close()
        doing = f"tls {channel.peer}"
        if isinstance(error, TimeoutError):
            raise TimedOut(f"{doing}: the handshake was not finished in time") from None
        if isinstance(error, OSError):
            raise translate(error, doing) from None
        raise


def _hurry(channel: Channel) -> None:
    """Keep Nagle's algorithm and delayed acknowledgements from meeting: they cost 40 ms at the first record.

    A client's first data waits for the acknowledgement of its last handshake record, which a listener that
    sends no tickets would put off.
    """
    if not isinstance(channel, StreamSocket) or not channel.tcp:
        return
    for name in ("TCP_NODELAY", "TCP_QUICKACK"):
        option = getattr(socket, name, None)
        if option is not None:
            try:
                channel.sock.setsockopt(socket.IPPROTO_TCP, option, 1)
            except OSError:
                pass  # the peer is gone already, which reading tells


async def _linger(loop: Loop, channel: Channel) -> None:
    """Let the client read why we refuse it: to close with its bytes unread would reset our alert away."""
    deadline = loop.now() + _LINGER_SECONDS
    view = memoryview(bytearray(1 << 16))
    try:
        channel.send_eof()
        while (count := channel.read_into(view)) is not None:
            if count < 0:
                await ready(loop, channel, count, deadline)
            elif loop.now() > deadline:
                return
    except (OSError, PyncError):
        pass


class TlsChannel(Channel):
    """See the module; made by `start_tls`."""

    def __init__(self, inner: Channel, settings: TlsSettings, *, server: bool, name: str | None) -> None:
        self._inner = inner
        self._settings = settings
        self._server = server
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = self._wrap(name)
        self.read_fd, self.write_fd = inner.read_fd, inner.write_fd
        self.peer, self.local = inner.peer, inner.local
        self._gulp_size = _FIRST_GULP
        self._unsent = memoryview(b"")  # ciphertext that the inner channel has not taken
        self._taken = 0  # plaintext of the current write that is encrypted and not yet reported as written
        self._early = bytearray()  # plaintext read before somebody asked for it
        self._ended = False  # the peer's close_notify is here
        self._end_told = False
        self._failure: PyncError | None = None  # to be raised once the bytes before it were read
        self._established = False
        self._eof_said = False
        self._sent = 0  # bytes given to the inner channel

    def _wrap(self, name: str | None) -> ssl.SSLObject:
        settings = self._settings
        context = settings.context(server=self._server)
        if self._server:
            return context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        host = settings.server_name(name)
        try:
            return context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        except (ValueError, TypeError):  # TypeError for a NUL
            raise UsageError(f"{host!r} is not a name that TLS could verify") from None

    # --- handshake ---------------------------------------------------------------------------------

    async def handshake(self, loop: Loop, deadline: float | None, idle: float | None = None) -> None:
        """Raises PyncError, OSError and TimeoutError."""
        received = bytearray()
        while not self._shake(received):
            await self._flush_all(loop, deadline, idle)
            while (count := self._gulp()) is not None and count < 0:
                await ready(loop, self._inner, count, sooner(loop, deadline, idle))
            if count is None:
                where = "during" if received else "before"
                raise NetworkError(f"{self._doing}: the peer closed the connection {where} the handshake")
            if len(received) < _KEPT_OF_HANDSHAKE:
                received += self._settings.scratch[:count]
            if not received.startswith(_TLS_RECORDS):
                self._say_alert(tls_errors.UNEXPECTED)
                raise NetworkError(f"{self._doing}: {tls_errors.NOT_TLS}")
        await self._flush_all(loop, deadline, idle)
        self._settings.check_pin(self._tls.getpeercert(binary_form=True))
        self._established = True
        self.half_close = self._tls.version() == "TLSv1.3"

    def _shake(self, received: bytearray) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            self._say_alert()
            vague = not self._server and (error.reason or "").endswith("ALERT_HANDSHAKE_FAILURE")
            if vague and self._settings.cert is None and tls_errors.asked_for_certificate(bytes(received)):
                raise tls_errors.certificate_required(self._doing) from None
            raise self._explain(error, bytes(received)) from None
        return True

    async def _flush_all(self, loop: Loop, deadline: float | None, idle: float | None) -> None:
        while want := self._flush():
            await ready(loop, self._inner, want, sooner(loop, deadline, idle))

    def _say_alert(self, own: bytes = b"") -> None:
        try:
            self._outgoing.write(own)
            self._flush()
        except (OSError, PyncError):
            pass

    @property
    def _doing(self) -> str:
        return f"tls {self.peer}"

    def _explain(self, error: ssl.SSLError, received: bytes = b"") -> PyncError:
        return tls_errors.explain(
            error,
            server=self._server,
            doing=self._doing,
            established=self._established,
            received=received,
        )

    def secured(self) -> dict[str, Any]:
        """Facts of the `secured` event."""
        cipher = self._tls.cipher()
        facts: dict[str, Any] = {
            "version": self._tls.version(),
            "cipher": cipher[0] if cipher else None,
            "alpn": self._tls.selected_alpn_protocol(),
        }
        der = self._tls.getpeercert(binary_form=True)
        if der:
            facts |= certs.describe(der, self._tls.getpeercert())
        settings = self._settings
        trusted = settings.client_ca is not None if self._server else settings.verifies or bool(settings.pin)
        facts["verified"] = bool(der) and trusted
        if not self._server and not trusted:
            facts["warning"] = INSECURE
        return facts

    # --- bytes -------------------------------------------------------------------------------------

    @property
    def buffered(self) -> int:
        if (self._ended and not self._end_told) or self._failure is not None:
            return 1 + len(self._early)  # no poll tells of an end that was read already
        return len(self._early) + self._tls.pending() + self._incoming.pending

    def read_into(self, view: memoryview) -> int | None:
        if self._early:
            count = min(len(view), len(self._early))
            view[:count] = self._early[:count]
            del self._early[:count]
            return count
        while True:
            if filled := self._decrypt(view):
                return filled
            if self._ended:
                self._end_told = True
                return None
            if self._failure is not None:
                raise self._failure
            arrived = self._gulp()
            if arrived is None:
                if self._settings.allow_truncation:
                    self._ended = self._end_told = True
                    return None
                self._failure = IntegrityError(
                    f"{self._doing}: {tls_errors.TRUNCATED}", hint=tls_errors.TRUNCATED_HINT
                )
                raise self._failure
            if arrived < 0:
                return arrived

    def _decrypt(self, view: memoryview) -> int:
        """Bytes put into `view` from the records that are here; the end and failures are noted."""
        tls: Any = self._tls  # typeshed takes a bytearray only
        size, filled = len(view), 0
        if not (self._incoming.pending or tls.pending()) or self._ended or self._failure is not None:
            return 0
        try:
            while filled < size:  # each read gives one record at most
                count = tls.read(size - filled, view[filled:])
                if not count:
                    self._ended = True
                    break
                filled += count
        except ssl.SSLWantReadError:
            if (
                self._outgoing.pending
            ):  # an answer to a key update; what does not go out now, a write takes along
                self._say_alert()
        except ssl.SSLZeroReturnError:
            self._ended = True
        except ssl.SSLError as error:
            self._failure = self._explain(error)
            self._say_alert()
        return filled

    def _gulp(self) -> int | None:
        """Move what has arrived to OpenSSL; as `read_into` of the inner channel."""
        view = self._settings.scratch[: self._gulp_size]
        count = self._inner.read_into(view)
        if count is not None and count > 0:
            self._incoming.write(view[:count])
            if count == self._gulp_size < CHUNK:
                self._gulp_size *= 2
        return count

    def write(self, view: memoryview) -> int:
        try:
            want = self._flush()
            if want:
                return want
            if not self._taken:
                self._taken = self._tls.write(view[:CHUNK])
                want = self._flush()
                if want:
                    return want
        except ssl.SSLWantReadError:  # pragma: no cover - renegotiation is off
            return WANT_READ
        except ssl.SSLError as error:
            raise self._explain(error) from None
        except OSError:
            self._read_ahead()
            if self._failure is not None:
                raise self._failure from None
            raise
        count = min(self._taken, len(view))
        self._taken -= count
        return count

    def _flush(self) -> int:
        """Give ciphertext to the inner channel: 0 when all is gone, else WANT_*."""
        while True:
            if not self._unsent:
                if not self._outgoing.pending:
                    return 0
                self._unsent = memoryview(self._outgoing.read())
            count = self._inner.write(self._unsent)
            if count < 0:
                return count
            self._sent += count
            self._unsent = self._unsent[count:]

    def _read_ahead(self) -> None:
        """A write failed: the peer may have said why in an alert before it closed."""
        try:
            while len(self._early) < _EARLY_LIMIT and self._failure is None and not self._ended:
                self._drain()
                if (self._gulp() or WANT_READ) < 0:
                    break
            self._drain()
        except (OSError, PyncError):
            pass

    def _drain(self) -> None:
        """Decrypt everything that OpenSSL has, into `_early`."""
        block = memoryview(bytearray(1 << 16))
        while count := self._decrypt(block):
            self._early += block[:count]

    def send_eof(self) -> int:
        try:
            if not self._eof_said:
                want = self._flush()
                if want:
                    return want
                # Python's unwrap also looks for the peer's close_notify and would choke on data before it.
                self._drain()
                self._eof_said = True
                try:
                    self._tls.unwrap()
                except ssl.SSLError:
                    pass  # not there yet, or all is lost already, which reading tells
            return self._flush()
        except OSError:
            return 0  # the peer is gone: reading tells how

    # --- the rest is the inner channel's -----------------------------------------------------------

    def watch_read(self, loop: Loop, callback: Callable[[], None] | None) -> None:
        self._inner.watch_read(loop, callback)

    def watch_write(self, loop: Loop, callback: Callable[[], None] | None) -> None:
        self._inner.watch_write(loop, callback)

    def detach(self, loop: Loop) -> None:
        self._inner.detach(loop)

    def facts(self) -> dict[str, Any]:
        return self._inner.facts()

    def guard(self, on: bool) -> None:
        self._inner.guard(on)

    def vanished(self) -> bool:
        return self._inner.vanished()

    def probe(self) -> None:
        self._inner.probe()

    @property
    def must_be_asked(self) -> bool:  # type: ignore[override]
        return self._inner.must_be_asked

    def unacknowledged(self) -> int:
        """With what the inner channel has not taken yet, such as a close_notify that waits for room."""
        return len(self._unsent) + self._outgoing.pending + self._inner.unacknowledged()

    def confirmed(self, count: int) -> bool:
        """All or nothing: how much plaintext a number of acknowledged bytes holds cannot be told."""
        return not self._unsent and self._inner.confirmed(self._sent)

    def close(self) -> None:
        """Without a close_notify that nobody asked for: a stream that was cut must not look whole."""
        self._inner.close()

    def reset(self) -> None:
        self._inner.reset()
