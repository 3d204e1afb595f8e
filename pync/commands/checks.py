"""Which options exclude or need each other: one table for the command line and the Python API."""

from __future__ import annotations

from pync.commands import options as opt
from pync.errors import UsageError

# At most one of each group may be given.
_EXCLUSIVE: tuple[tuple[str, ...], ...] = (
    ("ipv4", "ipv6"),
    ("send_only", "recv_only"),
    ("exec_command", "sh_exec", "broker", "chat", "forward", "echo", "discard", "zero"),
    ("output_dir", "exec_command"),
    ("output_dir", "sh_exec"),
    ("output_dir", "forward"),
    ("output_dir", "echo"),
    ("output_dir", "discard"),
    ("tls_insecure", "tls_ca"),
    ("tls_insecure", "tls_fingerprint"),
    ("overwrite", "rename", "skip"),
    ("json", "csv", "grepable"),
    ("to", "keep_open"),
    ("raw", "secret"),
    ("raw", "secret_file"),
    ("raw", "keep_open"),
    ("raw", "count"),
    ("raw", "to"),
    ("connect", "keep_open"),
    ("connect", "count"),
    ("connect", "port_file"),
    ("connect", "ready_fd"),
)

# The first makes no sense without one of the others.
_NEEDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("append", ("output", "hex_dump")),
    ("tls_key", ("tls_cert",)),
    ("retry_delay", ("retry", "retry_for")),
    ("to", ("listen",)),
    ("secret_words", ("secret", "secret_file")),
    ("tries", ("secret", "secret_file")),
    ("expect", ("wait",)),
    ("until", ("wait",)),
    ("interval", ("wait",)),
)

# What is about one look at each port means nothing while many are waited for; and what does instead.
_ALL_AT_ONCE = "all are asked at the same time"
_NOT_WAITING: tuple[tuple[str, str], ...] = (
    ("shard", "name what this machine is to wait for"),
    ("banner", "--expect REGEX looks at the first bytes; or scan once more when the wait is over"),
    ("retries", "each is asked until the time is up; --interval says how often"),
    ("randomize", _ALL_AT_ONCE),
    ("seed", _ALL_AT_ONCE),
    ("all", "what is missing is named with its reason when the time is up"),
    ("all_addresses", "a name is open when one of its addresses is; or name each address"),
)

# What an https:// proxy has to do with; the rest is about the other end.
_ABOUT_PROXIES = ("tls_ca", "tls_insecure", "tls_min")


def check(options: opt.Shared) -> None:
    """Raises UsageError for options that contradict each other."""
    for group in _EXCLUSIVE:
        given = [name for name in group if _given(options, name)]
        if len(given) > 1:
            raise UsageError(f"{spelling(given[0])} and {spelling(given[1])} exclude each other")
    for name, others in _NEEDS:
        if _given(options, name) and not any(_given(options, other) for other in others):
            raise UsageError(f"{spelling(name)} needs {' or '.join(spelling(other) for other in others)}")
    if isinstance(options, opt.SocketOptions):
        _check_endpoint(options)
    if isinstance(options, opt.TlsOptions):
        _check_tls(options)
    if isinstance(options, opt.SendOptions):
        _check_send(options)
    if isinstance(options, opt.ScanOptions):
        _check_scan(options)


def spelling(name: str) -> str:
    """The long option that sets an attribute."""
    return "--exec" if name == "exec_command" else "--" + name.replace("_", "-")


def _given(options: opt.Shared, name: str) -> bool:
    default = getattr(type(options), name, None)
    return getattr(options, name, default) != default


def _check_endpoint(options: opt.SocketOptions) -> None:
    scheme = options.endpoint.scheme
    if options.udp and scheme not in ("udp", "unix-dgram", "fd"):
        # send and recv keep -u as a word of their own, but over a stream it means nothing.
        raise UsageError(f"-u contradicts the endpoint {options.endpoint}")
    if options.unix and scheme not in ("unix", "unix-dgram"):
        raise UsageError(f"-U contradicts the endpoint {options.endpoint}")
    datagrams = scheme in ("udp", "unix-dgram")
    tls = isinstance(options, opt.TlsOptions) and options.tls
    if datagrams and tls:
        raise UsageError("--tls needs a stream; TLS over datagrams (DTLS) is not offered")
    if options.proxy and (datagrams or scheme in ("unix", "fd")):
        raise UsageError(f"--proxy carries TCP only, not {options.endpoint}")
    if options.proxy and (taker := _takes_in(options)):
        raise UsageError(f"--proxy is for connections going out, {taker} takes them in")
    if options.ipv4 and ":" in options.endpoint.host:
        raise UsageError(f"{options.endpoint.host} is not an IPv4 address, and -4 wants one")
    if isinstance(options, opt.StreamOptions) and options.datagram_size is not None and not datagrams:
        raise UsageError("--datagram-size needs datagrams: -u or unix-dgram:")
    forward = options.forward if isinstance(options, opt.ListenOptions) else None
    if options.multicast is not None and "udp" not in (scheme, forward.scheme if forward else scheme):
        raise UsageError("--multicast needs datagrams: -u")


def _takes_in(options: opt.SocketOptions) -> str:
    """What waits for connections and makes none, in the user's words; empty when it connects."""
    if isinstance(options, opt.ListenOptions) and options.forward is None:
        return "listen"
    if isinstance(options, opt.SendOptions) and options.listen:
        return "send --listen"
    if isinstance(options, opt.RecvOptions) and not options.connect:
        return "recv"
    return ""


def _check_tls(options: opt.TlsOptions) -> None:
    """What is said about TLS must not be said in vain: the bytes would go in the clear."""
    forward = options.forward if isinstance(options, opt.ListenOptions) else None
    schemes = {options.endpoint.scheme, forward.scheme if forward else ""}
    if options.tls or "tls" in schemes:
        return
    with_proxy = any(url == "env" or url.lower().startswith("https:") for url in options.proxy)
    heard = _ABOUT_PROXIES if with_proxy else ()
    names = (name for name in vars(opt.TlsOptions) if name.startswith("tls_") and name not in heard)
    given = next((name for name in names if _given(options, name)), "")
    if given:
        raise UsageError(f"{spelling(given)} needs --tls", hint="add --tls, or write tls://HOST:PORT")


def _check_send(options: opt.SendOptions) -> None:
    if options.keep_open and not options.listen:
        raise UsageError("send -k needs --listen", hint="-k serves the same files until stopped")
    for name in ("port_file", "ready_fd"):  # not in the table: who always listens has them without --listen
        if _given(options, name) and not options.listen:
            raise UsageError(f"{spelling(name)} needs --listen")
    if options.raw and len(options.paths) > 1:
        raise UsageError(
            "--raw sends one file: plain bytes have no names", hint="leave out --raw, or use tar"
        )
    if options.paths.count("-") > 1:
        raise UsageError("'-' (stdin) can be sent only once")


def _check_scan(options: opt.ScanOptions) -> None:
    if options.command and options.wait is None:
        raise UsageError("a command after -- needs --wait", hint="pync scan db:5432 --wait 30s -- CMD ARG...")
    if options.command and not options.command[0]:
        raise UsageError("the command after -- is empty", hint="pync scan db:5432 --wait 30s -- CMD ARG...")
    if options.udp and options.proxy:
        raise UsageError("--proxy carries TCP only, not UDP probes")
    for name, instead in _NOT_WAITING if options.wait is not None else ():
        if _given(options, name):
            raise UsageError(f"{spelling(name)} does not go with --wait", hint=instead)
