"""The flags that several commands share, and those of connect and listen: one line each."""

from __future__ import annotations

from typing import Annotated, Any

from pync.cli import values as of
from pync.cli.declare import (
    ACCESS,
    ADDRESS,
    CLIENTS,
    DATA,
    ENDS,
    PROXY,
    REPORT,
    ROLE,
    SERVICES,
    SOCKET,
    TIME,
    TLS,
    flag,
)

# Flags of which every command has its own help text, or only some commands have at all.
Words = list[str]


class SharedFlags:
    ipv4: Annotated[bool, flag(ADDRESS, "-4 --ipv4", "IPv4 only")]
    ipv6: Annotated[bool, flag(ADDRESS, "-6 --ipv6", "IPv6 only")]
    numeric: Annotated[bool, flag(ADDRESS, "-n --numeric", "Look up no names and no services")]
    udp: Annotated[bool, flag(ADDRESS, "-u --udp", "UDP datagrams instead of a TCP stream")]
    source: Annotated[str, flag(ADDRESS, "-s --source", "Local address, ADDR or ADDR:PORT", of.named("ADDR"))]
    interface: Annotated[str, flag(ADDRESS, "--interface", "Use that network interface", of.named("NAME"))]
    proxy: Annotated[
        Words,
        flag(
            PROXY,
            "--proxy",
            "Go through http://, https://, socks4://, socks4a://, socks5:// or socks5h:// "
            "[USER:PASS@]HOST:PORT; repeat for a chain; 'env' reads ALL_PROXY and NO_PROXY",
            of.named("URL"),
        ),
    ]
    timeout: Annotated[float, flag(TIME, "-w --timeout", "Give up connecting after D (exit 3)", of.DURATION)]
    deadline: Annotated[float, flag(TIME, "--deadline", "End the whole run after D (exit 3)", of.DURATION)]
    rate: Annotated[float, flag(TIME, "--rate", "At most that many bytes a second: 500K, 5M, 1MiB", of.RATE)]
    progress: Annotated[
        bool, flag(REPORT, "--progress/--no-progress", "A live line of bytes, rate and time left")
    ]
    json: Annotated[bool, flag(REPORT, "--json", "Events on stderr as JSON, one a line, instead of words")]
    verbose: Annotated[int, flag(REPORT, "-v --verbose", "Say more; -vv says even more", count=True)]
    quiet: Annotated[bool, flag(REPORT, "-q --quiet", "Say nothing but errors")]


class SocketFlags(SharedFlags):
    unix: Annotated[bool, flag(ADDRESS, "-U --unix", "The endpoint is a Unix path; with -u datagrams")]
    source_port: Annotated[Any, flag(ADDRESS, "-p --source-port", "Local port", of.PORT)]
    idle_timeout: Annotated[
        float,
        flag(TIME, "-i --idle-timeout", "End when nothing moved either way for D (exit 3)", of.DURATION),
    ]
    nodelay: Annotated[bool, flag(SOCKET, "--nodelay", "Send small pieces at once (TCP_NODELAY)")]
    keepalive: Annotated[bool, flag(SOCKET, "--keepalive", "Probe an idle peer (SO_KEEPALIVE)")]
    dscp: Annotated[int, flag(SOCKET, "--dscp", "Mark packets with that code point, 0-63", of.number(0, 63))]
    ttl: Annotated[int, flag(SOCKET, "--ttl", "Hops a packet may make, 1-255", of.number(1, 255))]
    sndbuf: Annotated[int, flag(SOCKET, "--sndbuf", "Send buffer of the socket", of.BUFFER)]
    rcvbuf: Annotated[int, flag(SOCKET, "--rcvbuf", "Receive buffer of the socket", of.BUFFER)]
    broadcast: Annotated[bool, flag(SOCKET, "--broadcast", "Allow datagrams to broadcast addresses")]
    multicast: Annotated[
        str, flag(SOCKET, "--multicast", "Join that multicast group, or send to it", of.named("GROUP"))
    ]


class TlsFlags(SocketFlags):
    tls: Annotated[bool, flag(TLS, "--tls", "Use TLS; a client checks the certificate and the name")]
    tls_ca: Annotated[str, flag(TLS, "--tls-ca", "Trust the CA certificates in FILE", of.FILE)]
    tls_fingerprint: Annotated[
        str, flag(TLS, "--tls-fingerprint", "Trust exactly that certificate", of.FINGERPRINT)
    ]
    tls_insecure: Annotated[bool, flag(TLS, "--tls-insecure", "Check nothing about the peer (says so)")]
    tls_cert: Annotated[str, flag(TLS, "--tls-cert", "Our certificate chain, PEM", of.FILE)]
    tls_key: Annotated[str, flag(TLS, "--tls-key", "Its private key, PEM, if not in the same file", of.FILE)]
    tls_client_ca: Annotated[
        str, flag(TLS, "--tls-client-ca", "When listening: demand a client certificate from that CA", of.FILE)
    ]
    tls_name: Annotated[str, flag(TLS, "--tls-name", "Name to ask for (SNI) and to verify", of.named("NAME"))]
    tls_alpn: Annotated[Any, flag(TLS, "--tls-alpn", "Protocols to offer, such as h2,http/1.1", of.COMMAS)]
    tls_min: Annotated[
        str, flag(TLS, "--tls-min", "Oldest version accepted (default 1.2)", of.one_of("1.2", "1.3"))
    ]
    tls_allow_truncation: Annotated[
        bool, flag(TLS, "--tls-allow-truncation", "Take an end without close_notify as a clean end")
    ]


class StreamFlags(TlsFlags):
    quit_after: Annotated[
        float,
        flag(
            ENDS, "--quit-after", "End at most D after our input ended (UDP: D without a reply)", of.DURATION
        ),
    ]
    no_shutdown: Annotated[bool, flag(ENDS, "--no-shutdown", "Do not tell the peer that our input ended")]
    peer_eof: Annotated[
        str,
        flag(
            ENDS,
            "--peer-eof",
            "When the peer ended first; auto: quit if stdin is a terminal",
            of.one_of("auto", "quit", "continue"),
        ),
    ]
    send_only: Annotated[bool, flag(ENDS, "--send-only", "Pass on nothing the peer says")]
    recv_only: Annotated[bool, flag(ENDS, "--recv-only", "Do not read stdin")]
    max_bytes: Annotated[int, flag(ENDS, "--max-bytes", "End (0) once that much was received", of.SIZE)]
    max_packets: Annotated[
        int, flag(ENDS, "--max-packets", "End (0) once N packets were received", of.number(1))
    ]
    exec_command: Annotated[
        str,
        flag(
            DATA, "-e --exec", "Run a program on the connection, without a shell", of.named("'PROG ARG...'")
        ),
    ]
    sh_exec: Annotated[str, flag(DATA, "-c --sh-exec", "The same through /bin/sh -c", of.named("CMD"))]
    output: Annotated[str, flag(DATA, "-o --output", "Copy the session, both directions, to FILE", of.FILE)]
    hex_dump: Annotated[str, flag(DATA, "-x --hex-dump", "The same as a hex dump", of.FILE)]
    append: Annotated[bool, flag(DATA, "--append", "Add to these files instead of replacing them")]
    crlf: Annotated[bool, flag(DATA, "-C --crlf", "Send LF as CRLF; a CRLF stays one")]
    delay: Annotated[float, flag(TIME, "--delay", "Wait D between the lines sent", of.DURATION)]
    datagram_size: Annotated[
        int, flag(DATA, "--datagram-size", "Cut our input into datagrams of N bytes", of.number(1, 65_507))
    ]


class ConnectFlags(StreamFlags):
    zero: Annotated[bool, flag(ENDS, "-z --zero", "Only see whether it connects: send nothing, exit 0 or 1")]
    retry: Annotated[
        int, flag(TIME, "--retry", "Try N more times while refused or unreachable", of.number(0))
    ]
    retry_for: Annotated[float, flag(TIME, "--retry-for", "Keep trying for D", of.DURATION)]
    retry_delay: Annotated[
        float, flag(TIME, "--retry-delay", "First wait between tries; it doubles", of.DURATION)
    ]
    telnet: Annotated[bool, flag(DATA, "-t --telnet", "Answer telnet negotiation, keep it off stdout")]
    raw_tty: Annotated[bool, flag(DATA, "--raw-tty", "Terminal in raw mode, for a shell at the other end")]


class ListenFlags(StreamFlags):
    timeout: Annotated[
        float, flag(TIME, "-w --timeout", "Give up when no client came within D (exit 3)", of.DURATION)
    ]
    keep_open: Annotated[
        bool, flag(CLIENTS, "-k --keep-open", "Serve client after client, at the same time, until stopped")
    ]
    max_conns: Annotated[
        int,
        flag(CLIENTS, "-m --max-conns", "At most N clients at a time, more are closed at once", of.number(0)),
    ]
    count: Annotated[int, flag(CLIENTS, "--count", "End (0) after N clients were served", of.number(1))]
    stdin: Annotated[
        str,
        flag(
            CLIENTS,
            "--stdin",
            "Who gets our stdin with -k (default broadcast)",
            of.one_of("first", "broadcast", "none"),
        ),
    ]
    output_dir: Annotated[
        str,
        flag(CLIENTS, "--output-dir", "One file a client in DIR, named by peer and number", of.named("DIR")),
    ]
    client_buffer: Annotated[
        int,
        flag(
            CLIENTS, "--client-buffer", "With --broker, --chat: cut off a client that far behind", of.BUFFER
        ),
    ]
    grace: Annotated[
        float, flag(CLIENTS, "--grace", "When stopped, let clients finish for D (default 2s)", of.DURATION)
    ]
    broker: Annotated[bool, flag(SERVICES, "--broker", "What one client sends goes to all others")]
    chat: Annotated[bool, flag(SERVICES, "--chat", "The same by whole lines, '<name> ' before each")]
    forward: Annotated[
        Any, flag(SERVICES, "--forward", "Relay each client to ENDPOINT, such as unix:/run/db", of.ENDPOINT)
    ]
    echo: Annotated[bool, flag(SERVICES, "--echo", "Send back what arrives")]
    discard: Annotated[bool, flag(SERVICES, "--discard", "Throw away what arrives")]
    allow: Annotated[
        Words,
        flag(
            ACCESS,
            "--allow",
            "Only these: addresses, 10.0.0.0/8, 10.0.0.1-20, names; commas; repeat",
            of.named("LIST"),
        ),
    ]
    deny: Annotated[Words, flag(ACCESS, "--deny", "Never these; stronger than --allow", of.named("LIST"))]
    allow_file: Annotated[Words, flag(ACCESS, "--allow-file", "As --allow, from FILE, # remarks", of.FILE)]
    deny_file: Annotated[Words, flag(ACCESS, "--deny-file", "As --deny, from FILE", of.FILE)]
    port_file: Annotated[str, flag(ROLE, "--port-file", "Write the port to FILE once it is bound", of.FILE)]
    ready_fd: Annotated[
        int, flag(ROLE, "--ready-fd", "Write a newline to descriptor N once bound", of.number(0, 1_048_575))
    ]
    backlog: Annotated[
        int, flag(ROLE, "--backlog", "Clients that may wait to be accepted", of.number(1, 2_147_483_647))
    ]
    reuse_port: Annotated[bool, flag(ROLE, "--reuse-port", "Share the port with others (SO_REUSEPORT)")]
