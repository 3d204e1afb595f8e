"""What the manual says beyond the options: pairs of a term and its text."""

from __future__ import annotations

ENDPOINTS = (
    ("HOST PORT", "Two words, as in every netcat; an IPv6 address needs no brackets here"),
    ("HOST:PORT, [V6]:PORT", "One word"),
    (
        "PORT",
        "Listening: all addresses, IPv4 and IPv6. Port 0 lets the system choose; the choice is reported",
    ),
    ("tcp://HOST:PORT, udp://HOST:PORT, tls://HOST:PORT", "With the transport named"),
    (
        "unix:PATH, unix:@NAME, unix-dgram:PATH",
        "Unix stream socket, Linux abstract name, Unix datagram socket",
    ),
    ("fd:N", "An inherited socket"),
)

DURATIONS = "A duration is a number and ms, s, m, h or d; without a unit it is seconds: 500ms, 2, 1.5m."

SIZES = (
    "A size is a number and K, M, G or T (powers of 1024, as KiB, MiB, GiB and TiB), or KB, MB, GB, TB "
    "(powers of 1000): 64K, 5MiB. A rate is a size a second."
)

EVENTS = (
    "With --json each event is one JSON object on a line of standard error (scan: standard output, errors "
    "excepted). Every event has event, its kind, and time, in seconds since 1970. Facts marked with * are "
    "always there. Readers should ignore facts they do not know. The JSON Schema is in the package as "
    "cli/events.schema.json."
)

EXIT_STATUS = (
    ("0", "Everything asked for was done"),
    ("1", "The network said no: refused, reset, unreachable, no such name, peer gone early, nothing open"),
    (
        "2",
        "Usage or local error: a bad option, an address that cannot be bound, a file that cannot be written",
    ),
    ("3", "A time-out that was asked for, or scan --wait that ran out"),
    ("4", "Integrity or authentication: wrong bytes, a wrong secret, a certificate that is not trusted"),
    ("5", "Partly done: some of several targets, files or receivers failed"),
    ("70", "A bug in pync"),
    (
        "128+N",
        "Died of signal N, as the shell shows it: 130 Ctrl-C, 143 SIGTERM, 141 nobody reads standard output",
    ),
)

ENVIRONMENT = (
    ("PYNC_SECRET", "The words of the secret for --secret without words"),
    ("PYNC_TLS_PASSWORD", "The password of an encrypted --tls-key"),
    ("PYNC_PROXY_AUTH", "USER:PASSWORD for a proxy whose URL has none"),
    ("ALL_PROXY, NO_PROXY", "Read by --proxy env, in capitals or small letters"),
    ("PYNC_MOVER", "copy forces the portable way of moving bytes"),
    ("NO_COLOR", "If set and not empty, no colour"),
    ("TERM", "dumb means no live line and no colour"),
    ("COLUMNS", "Width of the help"),
    (
        "PYNC_REMOTE_ADDR",
        (
            "Set for the programs of --exec and --sh-exec, with PYNC_REMOTE_PORT, PYNC_LOCAL_ADDR, "
            "PYNC_LOCAL_PORT and PYNC_PROTO; the same as NCAT_* for scripts written for ncat"
        ),
    ),
)

FILES = (
    ("/etc/services", "Names of ports"),
    ("/etc/hosts, /etc/resolv.conf", "Names of hosts, as everywhere"),
    ("NAME.part", "What has arrived of a file; recv goes on from there, and renames it when it is whole"),
)
