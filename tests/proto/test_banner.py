"""First bytes of services, read as hostile text."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pync.proto import banner


@pytest.mark.parametrize(
    ("data", "protocol", "text"),
    [
        (b"SSH-2.0-x\r\n", "ssh", "SSH-2.0-x"),
        (b"220 mail.example ESMTP Postfix\r\n", "smtp", "220 mail.example ESMTP Postfix"),
        (b"220 ProFTPD FTP ready\r\n", "ftp", "220 ProFTPD FTP ready"),
        (b"* OK IMAP ready\r\n", "imap", "* OK IMAP ready"),
        (b"+OK POP3\r\n", "pop3", "+OK POP3"),
        (b"RFB 003.008\n", "vnc", "RFB 003.008"),
        (b"-ERR wrong number of arguments for 'get' command\r\n", "redis", None),
        (b"J\0\0\0\x0a8.0.36\0abcdef", "mysql", "8.0.36"),
        (b"\xff\xfd\x18\xff\xfb\x01login: ", "telnet", "login:"),
        (b"\n\nhello\n", "", "hello"),
        (b"\x00\x01\x02", "", "\\x00\\x01\\x02"),
    ],
)
def test_protocols(data: bytes, protocol: str, text: str | None) -> None:
    facts = banner.describe(data)
    assert facts["protocol"] == protocol
    if text is not None:
        assert facts["text"] == text


@pytest.mark.parametrize(
    ("start", "protocol"),
    [
        (b"RTSP/1.0 200 OK", "rtsp"),
        (b"* PREAUTH", "imap"),
        (b"@RSYNCD: 31.0", "rsync"),
        (b"-DENIED Redis", "redis"),
        (b"-NOAUTH", "redis"),
        (b"+PONG", "redis"),
        (b"SIP/2.0 200", "sip"),
        (b"AMQP\0", "amqp"),
        (b"<?xml version", "xml"),
        (b"<stream:stream", "xmpp"),
        (b"\xff\xfb\x01", "telnet"),
        (b"\x15\x03\x03", "tls"),
        (b"\x16\x03\x03", "tls"),
        (b"\x16\xfe\xfd", "dtls"),
        (b"\x15\xfe\xfd", "dtls"),
        (b":irc.example NOTICE", "irc"),
        (b"220 box ready", "smtp or ftp"),
        (b"220 box mail", "smtp"),
        (b"220 box\nftp", "smtp or ftp"),
        (b"220 an ftp mail", "smtp"),
        (b"E\0\0\0\xff\x10\x04Too many connections", "mysql"),
        (b"E\0\0\0\xff", "mysql"),
        (b"E\0\0\0", ""),
        (b"E\0\0\x01\xff", ""),
        (b"E\0\0\0\x0b", ""),
        (b"\xff\xfe", ""),
    ],
)
def test_more_protocols(start: bytes, protocol: str) -> None:
    assert banner.describe(start)["protocol"] == protocol


@pytest.mark.parametrize(
    ("port", "protocol"),
    [(53, "dns"), (123, "ntp"), (137, "netbios-ns"), (161, "snmp"), (443, "quic"), (3478, "stun"),
     (5353, "mdns"), (7, "")],
)  # fmt: skip
def test_what_an_answer_to_a_datagram_is_likely_to_be(port: int, protocol: str) -> None:
    assert banner.datagram(port, b"\x80\x01")["protocol"] == protocol
    assert banner.datagram(port, b"SIP/2.0 200 OK")["protocol"] == "sip"
    assert banner.datagram(port, b"") == {}


def test_the_request_names_its_host() -> None:
    assert banner.request("h.example") == (
        b"GET / HTTP/1.0\r\nHost: h.example\r\nUser-Agent: pync\r\nAccept: */*\r\n\r\n"
    )
    assert b"\r\nHost: [::1]\r\n" in banner.request("::1")
    assert b"\r\nHost: ?.example\r\n" in banner.request("\u00fc.example")


@pytest.mark.parametrize(
    ("data", "complete"),
    [
        (b"", False),
        (b"SSH-2.0-x", False),
        (b"SSH-2.0-x\n", True),
        (b"x" * 1023, False),
        (b"x" * 1024, True),
        (b"HTTP/1.0 200 OK\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\n\r\n<TITLE x>t</title", True),
        (b"HTTP/1.0 200 OK".ljust(banner.MOST - 1), False),
        (b"HTTP/1.0 200 OK".ljust(banner.MOST), True),
    ],
)
def test_when_enough_was_read(data: bytes, complete: bool) -> None:
    assert banner.complete(data) is complete


def test_what_a_web_server_says() -> None:
    head = b"HTTP/1.1 301 Moved\r\n SERVER : nginx/1 \r\nlocation:\thttps://h/\r\nnone\r\nServer2: x\r\n\r\n"
    page = b"Server: no\r\n<title\nlang=x> A &amp;\n  B </title>"
    assert banner.describe(head + page) == {
        "protocol": "http",
        "text": "HTTP/1.1 301 Moved",
        "status": 301,
        "server": "nginx/1",
        "location": "https://h/",
        "title": "A & B",
    }


@pytest.mark.parametrize("line", [b"HTTP/1.1", b"HTTP/1.1 20", b"HTTP/1.1 2000 OK", b"HTTP/1.1 OK 200"])
def test_no_status_where_there_is_none(line: bytes) -> None:
    assert banner.describe(line + b"\r\n\r\n") == {"protocol": "http", "text": line.decode()}


def test_text_is_cut_at_its_length() -> None:
    assert banner.LINE == 200
    assert banner.describe(b"x" * 201 + b"\n")["text"] == "x" * 200
    assert banner.describe(b"x" * 200)["text"] == "x" * 200
    assert banner.describe(b"\xc3\xa9" * 300)["text"] == "\u00e9" * 200
    kept = banner.describe(
        b"HTTP/1.0 200 OK\r\nServer: " + b"s" * 300 + b"\r\n\r\n<title>" + b"t" * 300 + b"</title>"
    )
    assert (kept["server"], kept["title"]) == ("s" * 200, "t" * 200)


def test_nothing_is_nothing() -> None:
    assert banner.describe(b"") == {}


def test_tls_behind_a_plain_port_is_noticed() -> None:
    assert banner.wants_tls(b"\x15\x03\x01\0\x02\x02\x16")
    assert banner.wants_tls(b"HTTP/1.1 400 Bad Request\r\n\r\nThe plain HTTP request was sent to HTTPS port")
    assert not banner.wants_tls(b"HTTP/1.1 200 OK\r\n\r\n")
    assert not banner.wants_tls(b"\x15\x02")
    assert not banner.wants_tls(b"an HTTPS port")
    assert not banner.wants_tls(b"HTTP/1.1 200 OK".ljust(2048) + b"HTTPS port")


@given(
    st.binary(max_size=400) | st.builds(lambda b: b"HTTP/1.1 200 OK\r\nServer: " + b, st.binary(max_size=300))
)
@example(b"HTTP/1.1 200 \r\n\r\n<title>\x1b]0;owned\x07\xe2\x80\xae</title>")
@example(b"HTTP/1.1 200 \r\n\r\n<title>&#27;[2J</title>")
def test_every_text_is_short_and_safe_to_print(data: bytes) -> None:
    facts = banner.describe(data) | {"datagram": banner.datagram(53, data)}
    json.dumps(facts)
    for value in [*facts.values(), *facts["datagram"].values()]:  # type: ignore[attr-defined]
        if isinstance(value, str):
            assert value.isprintable()
            assert len(value) <= banner.LINE


def test_certificate_texts_are_escaped_and_capped() -> None:
    facts = banner.certificate({"subject": "CN=\x1b[2J", "sans": ["DNS:a\n"] * 1000, "expires": None})
    assert facts == {"subject": "CN=\\x1b[2J", "sans": ["DNS:a\\x0a"] * 100}
