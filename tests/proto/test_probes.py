"""UDP payloads: each has the shape that its document asks for."""

from __future__ import annotations

from struct import unpack
from zlib import crc32

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


# PORT:CRC-32 of every payload: whoever changes one means to.
KNOWN = """
    53:e245379d 67:d202ef8d 69:285f52f4 80:0df01f05 88:545c5734 111:daa9a13e 123:ac434656 137:623acc97
    161:83283ee4 177:e522f511 389:0ae49efe 443:0df01f05 500:659d4173 520:a42055b7 623:de3ff1e0
    784:0df01f05 853:0df01f05 1194:fa2497da 1434:4b0bbe37 1645:3e39e4e4 1701:30a45293 1812:3e39e4e4
    1813:3e39e4e4 1900:02cd1ab3 2049:709e94f3 3391:6d366797 3478:fc3e7a74 3479:fc3e7a74 3702:556e16be
    4433:6d366797 4500:ea13f348 5060:9f869f94 5349:6d366797 5351:41d912ff 5353:dc91daf9 5355:8d572a35
    5683:26cceec4 5684:6d366797 6881:2310b409 7001:9da9cd8b 8443:0df01f05 8853:0df01f05 10001:99f8b879
    11211:229b2170 19132:83c7569a 19302:fc3e7a74 27015:9492ce0b 27960:49eb3eb0 32414:290f995f
    47808:9216b3a4
"""


def test_no_byte_of_a_payload_changes_unnoticed() -> None:
    """A probe that is one byte off is answered by nobody, and everything would only look filtered."""
    known = dict(word.split(":") for word in KNOWN.split())
    assert {str(port): f"{crc32(probes.payload(port)):08x}" for port in probes._MAKERS} == known


def test_lengths_nested_in_an_ike_proposal() -> None:
    """RFC 2408: the association holds the proposal, which holds the transform; each counts its own header."""
    association = probes.ike()[28:]
    proposal = association[12:]
    transform = proposal[8:]
    lengths = [int.from_bytes(part[2:4], "big") for part in (association, proposal, transform)]
    assert lengths == [len(association), len(proposal), len(transform)]
