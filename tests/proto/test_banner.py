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


def test_nothing_is_nothing() -> None:
    assert banner.describe(b"") == {}


def test_tls_behind_a_plain_port_is_noticed() -> None:
    assert banner.wants_tls(b"\x15\x03\x01\0\x02\x02\x16")
    assert banner.wants_tls(b"HTTP/1.1 400 Bad Request\r\n\r\nThe plain HTTP request was sent to HTTPS port")
    assert not banner.wants_tls(b"HTTP/1.1 200 OK\r\n\r\n")


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
