"""UDP payloads: each has the shape that its document asks for."""

from __future__ import annotations

from struct import unpack

import pytest

from pync.proto import probes


def test_unknown_ports_get_the_generic_payload() -> None:
    assert probes.payload(59_999) == probes.GENERIC


@pytest.mark.parametrize("port", sorted(probes._MAKERS))
def test_payloads_fit_into_one_unfragmented_datagram(port: int) -> None:
    assert 0 < len(probes.payload(port)) <= 1232


@pytest.mark.parametrize("port", [53, 5353, 5355, 137])
def test_dns_like_questions_are_whole(port: int) -> None:
    data = probes.payload(port)
    number, _flags, questions, answers, *_ = unpack(">6H", data[:12])
    assert (number, questions, answers) == (0x706E, 1, 0)
    at = 12
    while data[at]:
        at += 1 + data[at]
    assert len(data) == at + 5


@pytest.mark.parametrize("port", [161, 389, 88])
def test_ber_lengths_are_right(port: int) -> None:
    def walk(data: bytes) -> None:
        while data:
            tag, size, rest = data[0], data[1], data[2:]
            if size == 0x81:
                size, rest = rest[0], rest[1:]
            assert size < 0x80 or data[1] == 0x81
            assert len(rest) >= size
            if tag & 0x20:
                walk(rest[:size])
            data = rest[size:]

    walk(probes.payload(port))


def test_lengths_inside_the_headers() -> None:
    ike = probes.ike()
    assert int.from_bytes(ike[24:28], "big") == len(ike)
    assert probes.ike_natt()[:4] == bytes(4)
    l2tp = probes.l2tp()
    assert int.from_bytes(l2tp[2:4], "big") == len(l2tp)
    radius = probes.radius()
    assert int.from_bytes(radius[2:4], "big") == len(radius)
    dtls = probes.dtls()
    assert int.from_bytes(dtls[11:13], "big") == len(dtls) - 13
    assert int.from_bytes(dtls[14:17], "big") == len(dtls) - 25
    assert len(probes.ntp()) == 48
    assert len(probes.stun()) == 20
    assert len(probes.quic()) == 1200


def test_ipmi_checksums() -> None:
    message = probes.ipmi()[14:]
    assert sum(message[:3]) & 255 == 0
    assert sum(message[3:]) & 255 == 0
