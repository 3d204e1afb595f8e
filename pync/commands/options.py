"""What each command can be asked for: plain values, checked by whoever made them.

Class attributes are the defaults, `ConnectOptions(endpoint=..., quit_after=2.0)` sets some of them and an
unknown name is a TypeError. An attribute is called as its long option with `_` for `-`, except where that
is a word of Python (`exec_command`) or no word at all (`ipv4`, `ipv6`).

Durations are seconds, sizes bytes, rates bytes (scan: probes) a second; None means "not asked for" and
leaves the choice to the command. Plain classes, not dataclasses: those cost more at start-up than
everything in here.
"""

from __future__ import annotations

TYPE_CHECKING = False  # the typing module itself costs several milliseconds
if TYPE_CHECKING:
    from typing import Any

    from pync.endpoint import Endpoint

# Attributes that have no default: the caller must give them, there is nothing sensible to fall back on.
_REQUIRED = frozenset({"endpoint"})

# Never shown by repr(): options end up in tracebacks and bug reports, secrets must not.
_SECRET = frozenset({"secret", "proxy"})


class Shared:
    """What every command takes."""

    ipv4: bool = False
    ipv6: bool = False
    numeric: bool = False  # no name and no service look-ups
    udp: bool = False  # as typed; the relay looks at the endpoint's scheme, scan and transfers at this
    source: str | None = None  # ADDR[:PORT] or unix-dgram:PATH
    interface: str | None = None
    proxy: tuple[str, ...] = ()  # URLs, outermost first, or ("env",)
    timeout: float | None = None
    deadline: float | None = None  # seconds for the whole run, not yet a moment
    rate: float | None = None
    progress: bool | None = None  # None: only when stderr is a terminal
    json: bool = False
    verbose: int = 0
    quiet: bool = False

    def __init__(self, **values: Any) -> None:
        known = type(self)
        for name, value in values.items():
            if name.startswith("_") or not (hasattr(known, name) or name in _REQUIRED):
                raise TypeError(f"{known.__name__} has no option {name!r}")
            setattr(self, name, value)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._effective() == other._effective()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{name}={'<hidden>' if name in _SECRET else repr(value)}" for name, value in vars(self).items()
        )
        return f"{type(self).__name__}({shown})"

    def _effective(self) -> dict[str, Any]:
        """The values set that differ from the defaults; a default spelt out equals one left out."""
        known = type(self)
        missing = object()
        return {name: value for name, value in vars(self).items() if getattr(known, name, missing) != value}


class SocketOptions(Shared):
    """One endpoint and the socket that reaches it."""

    endpoint: Endpoint
    unix: bool = False  # as typed; the scheme of the endpoint already says it
    source_port: int | str | None = None
    idle_timeout: float | None = None
    nodelay: bool = False
    keepalive: bool = False
    dscp: int | None = None  # 0-63
    ttl: int | None = None  # 1-255
    sndbuf: int | None = None
    rcvbuf: int | None = None
    broadcast: bool = False
    multicast: str | None = None  # group address to join (listen) or to send to


class TlsOptions(SocketOptions):
    """TLS around the connection; it is wanted when `tls` is set or the endpoint's scheme is `tls`."""

    tls: bool = False
    tls_ca: str | None = None
    tls_fingerprint: str | None = None  # sha256:HEX
    tls_insecure: bool = False
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_client_ca: str | None = None
    tls_name: str | None = None
    tls_alpn: tuple[str, ...] = ()
    tls_min: str = "1.2"  # or "1.3"
    tls_allow_truncation: bool = False


class StreamOptions(TlsOptions):
    """What connect and listen share: the EOF law, programs, copies, filters and limits."""

    quit_after: float | None = None
    no_shutdown: bool = False
    peer_eof: str = "auto"  # auto, quit, continue
    send_only: bool = False
    recv_only: bool = False
    crlf: bool = False
    exec_command: str | None = None  # -e: split into words as a shell does, run without one
    sh_exec: str | None = None  # -c: through /bin/sh -c
    output: str | None = None
    hex_dump: str | None = None
    append: bool = False
    max_bytes: int | None = None
    max_packets: int | None = None
    delay: float | None = None
    datagram_size: int | None = None


class ConnectOptions(StreamOptions):
    """`pync connect`."""

    zero: bool = False
    retry: int | None = None  # how many more tries
    retry_for: float | None = None
    retry_delay: float | None = None
    telnet: bool = False
    raw_tty: bool = False


class ListenOptions(StreamOptions):
    """`pync listen`."""

    keep_open: bool = False
    max_conns: int | None = None  # 0 turns everybody away
    count: int | None = None
    stdin: str = "broadcast"  # first, broadcast, none
    output_dir: str | None = None
    allow: tuple[str, ...] = ()  # each may hold several rules, separated by commas
    deny: tuple[str, ...] = ()
    allow_file: tuple[str, ...] = ()
    deny_file: tuple[str, ...] = ()
    broker: bool = False
    chat: bool = False
    client_buffer: int = 1 << 20  # what a client may lag behind in a broker or chat before it is cut off
    forward: Endpoint | None = None
    echo: bool = False
    discard: bool = False
    grace: float = 2.0  # between being told to stop and cutting what is still running
    port_file: str | None = None
    ready_fd: int | None = None
    backlog: int | None = None
    reuse_port: bool = False


class TransferOptions(TlsOptions):
    """What send and recv share."""

    nodelay: bool = True  # the two ends answer each other in small frames: none may wait for an ACK
    raw: bool = False
    secret: str | None = None  # None: none wanted; "": wanted, words to be found elsewhere; else the words
    secret_file: str | None = None
    tries: int | None = None  # wrong secrets before giving up; None: 3
    retry_for: float = 30.0
    keep_open: bool = False
    port_file: str | None = None
    ready_fd: int | None = None
    no_fsync: bool = False


class SendOptions(TransferOptions):
    """`pync send`."""

    paths: tuple[str, ...] = ()  # none: stdin, as is "-"
    listen: bool = False
    to: int | None = None  # how many receivers, with listen
    exclude: tuple[str, ...] = ()
    follow: bool = False
    no_resume: bool = False
    compress: str = "auto"  # auto, zstd, none
    checksum: str = "xxh3"  # xxh3, blake3, sha256


class RecvOptions(TransferOptions):
    """`pync recv`."""

    connect: bool = False
    output: str | None = None  # file, directory or "-"
    overwrite: bool = False
    rename: bool = False
    skip: bool = False
    count: int | None = None  # senders to serve
    max_size: int | None = None
    secret_words: int | None = None  # words of a code we make up; None: 2
    yes: bool = False


class ScanOptions(Shared):
    """`pync scan`."""

    targets: tuple[str, ...] = ()  # as typed: names, CIDR, ranges, HOST:PORTS, @FILE, "-"
    command: tuple[str, ...] = ()  # after `--`: run when the wait is over
    ports: str | None = None
    retries: int | None = None
    concurrency: int | None = None
    all: bool = False
    all_addresses: bool = False
    banner: bool = False
    randomize: bool = False
    seed: int | None = None
    exclude: tuple[str, ...] = ()
    shard: tuple[int, int] | None = None  # (K, N), K from 1 to N
    wait: float | None = None
    until: str = "open"  # or "closed"
    require: str | None = None  # "all" or "any"; None: all with wait, else any
    interval: float = 0.2
    expect: str | None = None  # regular expression the first bytes must match
    csv: bool = False
    grepable: bool = False
