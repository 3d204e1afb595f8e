"""What a service says about itself, read from its first bytes.

Everything in here is hostile text: lengths are capped and what a terminal could act on is escaped.
"""

from __future__ import annotations

import re
from html import unescape

from pync.proto.escape import printable

MOST = 64 * 1024  # bytes of an answer looked at
LINE = 200  # characters kept of any text

Facts = dict[str, object]

_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"SSH-", "ssh"),
    (b"HTTP/", "http"),
    (b"RTSP/", "rtsp"),
    (b"* OK", "imap"),
    (b"* PREAUTH", "imap"),
    (b"+OK", "pop3"),
    (b"RFB ", "vnc"),
    (b"@RSYNCD:", "rsync"),
    (b"-ERR", "redis"),
    (b"-DENIED", "redis"),
    (b"-NOAUTH", "redis"),
    (b"+PONG", "redis"),
    (b"SIP/2.0", "sip"),
    (b"AMQP", "amqp"),
    (b"<?xml", "xml"),
    (b"<stream:", "xmpp"),
    (b"\xff\xfb", "telnet"),
    (b"\xff\xfd", "telnet"),
    (b"\x15\x03", "tls"),
    (b"\x16\x03", "tls"),
    (b"\x16\xfe", "dtls"),
    (b"\x15\xfe", "dtls"),
    (b":", "irc"),
)
_TITLE = re.compile(rb"<title[^>]{0,200}>(.{0,1000}?)</title", re.IGNORECASE | re.DOTALL)
_TELNET = re.compile(rb"\xff(?:[\xfb-\xfe].|[\xf0-\xf9])", re.DOTALL)

TLS_PORTS = frozenset(
    {443, 465, 563, 636, 853, 989, 990, 992, 993, 994, 995, 2376, 3269, 4433, 5061, 5223, 5349, 5671, 5986,
     6443, 6514, 6697, 8443, 8883, 9443, 10250}
)  # fmt: skip
HTTP_PORTS = frozenset(
    {80, 81, 591, 2375, 3000, 3128, 4000, 5000, 5601, 5985, 7474, 8000, 8008, 8080, 8081, 8086, 8088, 8123,
     8200, 8500, 8888, 9000, 9090, 9200, 15672}
)  # fmt: skip


def request(host: str) -> bytes:
    """What makes a silent service speak: GET, for a title is in the body; HTTP/1.0, so that it ends."""
    name = f"[{host}]" if ":" in host else host
    return f"GET / HTTP/1.0\r\nHost: {name}\r\nUser-Agent: pync\r\nAccept: */*\r\n\r\n".encode(
        "ascii", "replace"
    )


def complete(data: bytes) -> bool:
    """Whether more would add nothing: a line that is not HTTP, or HTTP with its title."""
    if data.startswith(b"HTTP/"):
        return _TITLE.search(data) is not None or len(data) >= MOST
    return b"\n" in data or len(data) >= 1024


def wants_tls(data: bytes) -> bool:
    """Whether the answer to a plain request says that TLS is spoken here."""
    return data[:2] == b"\x15\x03" or (data.startswith(b"HTTP/1.") and b"HTTPS port" in data[:2048])


def describe(data: bytes) -> Facts:
    """`protocol`, `text` (what it said first), and for HTTP `status`, `server`, `title`; {} for no bytes."""
    data = data[:MOST]
    if not data:
        return {}
    facts: Facts = {"protocol": _protocol(data), "text": _first_line(data)}
    if data.startswith(b"HTTP/"):
        facts |= _http(data)
    return facts


def datagram(port: int, data: bytes) -> Facts:
    """The same for the answer to a UDP probe."""
    guess = {53: "dns", 123: "ntp", 137: "netbios-ns", 161: "snmp", 443: "quic", 3478: "stun", 5353: "mdns"}
    facts = describe(data)
    if facts and facts["protocol"] == "":
        facts["protocol"] = guess.get(port, "")
    return facts


def _protocol(data: bytes) -> str:
    for start, name in _STARTS:
        if data.startswith(start):
            return name
    if data[:3] == b"220":
        first = data.split(b"\n", 1)[0].lower()
        return "smtp" if b"smtp" in first or b"mail" in first else "ftp" if b"ftp" in first else "smtp or ftp"
    if data[3:4] == b"\0" and data[4:5] in (b"\x0a", b"\xff") and len(data) >= 5:
        return "mysql"  # a packet header (number 0), then protocol version 10 or an error
    return ""


def _first_line(data: bytes) -> str:
    if data[:1] == b"\xff":
        data = _TELNET.sub(b"", data)
    if data[3:5] == b"\0\x0a":  # MySQL: the version is a C string behind header and protocol
        data = data[5:].split(b"\0", 1)[0]
    lines = [line for line in data[:4096].splitlines() if line.strip()]
    return _text(lines[0]) if lines else ""


def _text(data: bytes) -> str:
    return printable(data.strip()[: LINE * 4])[:LINE]


def _http(data: bytes) -> Facts:
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    words = lines[0].split(None, 2)
    facts: Facts = {}
    if len(words) > 1 and words[1].isdigit() and len(words[1]) == 3:
        facts["status"] = int(words[1])
    for line in lines[1:200]:
        name, colon, value = line.partition(b":")
        if colon and name.strip().lower() == b"server":
            facts["server"] = _text(value)
        elif colon and name.strip().lower() == b"location":
            facts["location"] = _text(value)
    title = _TITLE.search(body)
    if title is not None:
        words_of = unescape(title[1].decode("utf-8", "replace")).split()
        facts["title"] = printable(" ".join(words_of))[:LINE]
    return facts


def certificate(facts: Facts) -> Facts:
    """Of the facts of a TLS handshake what a scan shows, its texts escaped."""
    kept: Facts = {}
    for name in ("version", "alpn", "subject", "expires", "fingerprint"):
        if facts.get(name):
            kept[name] = printable(str(facts[name]))[:LINE]
    names = facts.get("sans")
    if isinstance(names, (list, tuple)):
        kept["sans"] = [printable(str(name))[:LINE] for name in names[:100]]
    return kept
