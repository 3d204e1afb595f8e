"""What a UDP service answers to: one request for each well-known service, made here from its document.

Every request is harmless: a question for a version, a name, a time, a capability, never a change. Transaction
numbers are fixed, for the socket already tells answers apart.
"""

from __future__ import annotations

from struct import pack

# A port nobody is known for: two empty lines make most text protocols speak, and a few binary ones complain.
GENERIC = b"\r\n\r\n"


def payload(port: int) -> bytes:
    """The datagram to send to a UDP port."""
    maker = _MAKERS.get(port)
    return GENERIC if maker is None else maker()


def _dns_name(name: str) -> bytes:
    return b"".join(bytes((len(part),)) + part.encode() for part in name.split(".") if part) + b"\0"


def _dns_query(name: str, kind: int, *, flags: int = 0x0100, dns_class: int = 1) -> bytes:
    return pack(">6H", 0x706E, flags, 1, 0, 0, 0) + _dns_name(name) + pack(">2H", kind, dns_class)


def dns() -> bytes:
    """RFC 1035: the name servers of the root, which every resolver and most servers answer or refuse."""
    return _dns_query("", 2)


def mdns() -> bytes:
    """RFC 6762 and RFC 6763: which services are there; the top bit of the class asks for a direct answer."""
    return _dns_query("_services._dns-sd._udp.local", 12, flags=0, dns_class=0x8001)


def llmnr() -> bytes:
    """RFC 4795: a name nobody should have; responders answer only for their own, few will."""
    return _dns_query("wpad", 1, flags=0)


def ntp() -> bytes:
    """RFC 5905: version 4, client, everything else unset."""
    return bytes((0xE3, 0, 4, 0xFA)) + bytes(36) + bytes.fromhex("e3000000706e6300")


def _ber(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    length = bytes((len(body),)) if len(body) < 128 else bytes((0x81, len(body)))
    return bytes((tag,)) + length + body


def snmp() -> bytes:
    """RFC 3412 and RFC 3414: the engine discovery of version 3, which needs no community."""
    header = _ber(0x30, _ber(2, b"\x70\x6e"), _ber(2, b"\x05\xdc"), _ber(4, b"\x04"), _ber(2, b"\x03"))
    zero = _ber(2, b"\0")
    security = _ber(4, _ber(0x30, _ber(4), zero, zero, _ber(4), _ber(4), _ber(4)))
    get = _ber(0xA0, _ber(2, b"\x70\x6e"), zero, zero, _ber(0x30))
    return _ber(0x30, _ber(2, b"\x03"), header, security, _ber(0x30, _ber(4), _ber(4), get))


def netbios_names() -> bytes:
    """RFC 1002 section 4.2.17: node status of the wildcard name."""
    wildcard = b"\x20" + b"CK" + b"A" * 30 + b"\0"
    return pack(">6H", 0x706E, 0, 1, 0, 0, 0) + wildcard + pack(">2H", 0x21, 1)


def ssdp() -> bytes:
    """UPnP Device Architecture 1.1: search for root devices, answered within a second."""
    return (
        b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n"
        b'MAN: "ssdp:discover"\r\nMX: 1\r\nST: upnp:rootdevice\r\n\r\n'
    )


def stun() -> bytes:
    """RFC 8489: a binding request without attributes."""
    return pack(">2HI", 1, 0, 0x2112A442) + b"pync-scan-01"


def quic() -> bytes:
    """RFC 9000 section 6: a version nobody speaks, padded to 1,200 bytes, must be answered by negotiation."""
    start = b"\xc0" + b"\x1a\x2a\x3a\x4a" + b"\x08pyncscan" + b"\x08scanpync"
    return start + bytes(1200 - len(start))


def tftp() -> bytes:
    """RFC 1350: read a file that will not be there."""
    return b"\0\x01" + b"pync-scan\0octet\0"


def sunrpc() -> bytes:
    """RFC 5531 and RFC 1833: procedure 0 of the port mapper."""
    return pack(">10I", 0x706E6331, 0, 2, 100_000, 2, 0, 0, 0, 0, 0)


def nfs() -> bytes:
    """RFC 1813: procedure 0 of NFS version 3."""
    return pack(">10I", 0x706E6331, 0, 2, 100_003, 3, 0, 0, 0, 0, 0)


def ike() -> bytes:
    """RFC 2409: main mode, one proposal (3DES, SHA-1, group 2); a version 2 peer says what is wrong."""
    attributes = b"".join(
        pack(">2H", 0x8000 | kind, value) for kind, value in ((1, 5), (2, 2), (3, 1), (4, 2), (11, 1))
    ) + pack(">2HI", 12, 4, 28_800)
    transform = pack(">BBHBBH", 0, 0, 8 + len(attributes), 1, 1, 0) + attributes
    proposal = pack(">BBHBBBB", 0, 0, 8 + len(transform), 1, 1, 0, 1) + transform
    association = pack(">BBHII", 0, 0, 12 + len(proposal), 1, 1) + proposal
    return b"pyncscan" + bytes(8) + pack(">BBBBII", 1, 0x10, 2, 0, 0, 28 + len(association)) + association


def ike_natt() -> bytes:
    """RFC 3948: the same behind the non-ESP marker."""
    return bytes(4) + ike()


def sip() -> bytes:
    """RFC 3261: OPTIONS."""
    return (
        b"OPTIONS sip:nobody@invalid SIP/2.0\r\nVia: SIP/2.0/UDP invalid;branch=z9hG4bKpync;rport\r\n"
        b"From: <sip:pync@invalid>;tag=pync\r\nTo: <sip:nobody@invalid>\r\nCall-ID: pync-scan\r\n"
        b"CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )


def radius() -> bytes:
    """RFC 5997: Status-Server. The Message-Authenticator needs a secret; some servers answer all the same."""
    return pack(">BBH", 12, 1, 38) + b"pync-scan-nonce!" + b"\x50\x12" + bytes(16)


def l2tp() -> bytes:
    """RFC 2661: start-control-connection-request, with the attributes that must be there."""

    def avp(kind: int, value: bytes) -> bytes:
        return pack(">3H", 0x8000 | 6 + len(value), 0, kind) + value

    body = avp(0, b"\0\x01") + avp(2, b"\x01\0") + avp(3, bytes(4)) + avp(4, bytes(4)) + avp(7, b"pync")
    body += avp(9, b"\0\x01")
    return pack(">6H", 0xC802, 12 + len(body), 0, 0, 0, 0) + body


def openvpn() -> bytes:
    """The documented session start: P_CONTROL_HARD_RESET_CLIENT_V2, key 0, no acknowledgements, packet 0."""
    return b"\x38pyncscan\0" + bytes(4)


def coap() -> bytes:
    """RFC 7252 and RFC 6690: GET /.well-known/core, confirmable."""
    return b"\x40\x01\x70\x6e" + b"\xbb.well-known" + b"\x04core"


def memcached() -> bytes:
    """The text protocol's `version` behind its UDP frame header."""
    return pack(">4H", 0x706E, 0, 1, 0) + b"version\r\n"


def cldap() -> bytes:
    """RFC 4511 over UDP: the root entry, no attributes asked for by name."""
    search = _ber(
        0x63, _ber(4), _ber(10, b"\0"), _ber(10, b"\0"), _ber(2, b"\0"), _ber(2, b"\0"), _ber(1, b"\0"),
        _ber(0x87, b"objectClass"), _ber(0x30),
    )  # fmt: skip
    return _ber(0x30, _ber(2, b"\x01"), search)


def kerberos() -> bytes:
    """RFC 4120: an AS-REQ for nobody, which a KDC answers with an error."""
    realm = _ber(0x1B, b"INVALID")

    def name(kind: int, *parts: bytes) -> bytes:
        texts = _ber(0x30, *(_ber(0x1B, part) for part in parts))
        return _ber(0x30, _ber(0xA0, _ber(2, bytes((kind,)))), _ber(0xA1, texts))

    body = _ber(
        0x30,
        _ber(0xA0, _ber(3, b"\0" + bytes(4))),
        _ber(0xA1, name(1, b"nobody")),
        _ber(0xA2, realm),
        _ber(0xA3, name(2, b"krbtgt", b"INVALID")),
        _ber(0xA5, _ber(0x18, b"20370101000000Z")),
        _ber(0xA7, _ber(2, b"\x70\x6e\x63\x31")),
        _ber(0xA8, _ber(0x30, _ber(2, b"\x12"), _ber(2, b"\x11"))),
    )
    request = _ber(0x30, _ber(0xA1, _ber(2, b"\x05")), _ber(0xA2, _ber(2, b"\x0a")), _ber(0xA4, body))
    return _ber(0x6A, request)


def xdmcp() -> bytes:
    """X Display Manager Control Protocol: query without authentication names."""
    return pack(">3HB", 1, 2, 1, 0)


def rip() -> bytes:
    """RFC 1058: request for the whole table."""
    return b"\x01\x01\0\0" + bytes(16) + pack(">I", 16)


def ipmi() -> bytes:
    """IPMI 2.0 section 22.13: get channel authentication capabilities, outside a session."""
    message = b"\x20\x18\xc8\x81\0\x38\x0e\x04"
    checksum = -sum(message[3:]) & 255
    return b"\x06\0\xff\x07" + bytes(9) + bytes((len(message) + 1,)) + message + bytes((checksum,))


def sql_browser() -> bytes:
    """MC-SQLR 2.2.2: unicast request for the instances."""
    return b"\x03"


def ws_discovery() -> bytes:
    """WS-Discovery: a probe for any device."""
    return (
        b'<?xml version="1.0"?><e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope" '
        b'xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" '
        b'xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery"><e:Header>'
        b"<a:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</a:Action>"
        b"<a:MessageID>urn:uuid:70796e63-0000-4000-8000-000000000001</a:MessageID>"
        b"<a:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</a:To></e:Header>"
        b"<e:Body><d:Probe/></e:Body></e:Envelope>"
    )


def nat_pmp() -> bytes:
    """RFC 6886: the external address."""
    return b"\0\0"


def bacnet() -> bytes:
    """ASHRAE 135 annex J: who is there, as an original unicast."""
    return b"\x81\x0a\0\x08\x01\x00\x10\x08"


def source_engine() -> bytes:
    """A2S_INFO of the game server queries."""
    return b"\xff\xff\xff\xffTSource Engine Query\0"


def quake3() -> bytes:
    """The status query of the family of games."""
    return b"\xff\xff\xff\xffgetstatus\n"


def bedrock() -> bytes:
    """The unconnected ping of RakNet."""
    return b"\x01" + bytes(8) + bytes.fromhex("00ffff00fefefefefdfdfdfd12345678") + b"pyncscan"


def bittorrent() -> bytes:
    """BEP 5: ping."""
    return b"d1:ad2:id20:pync-scan-pync-scan-e1:q4:ping1:t2:pn1:y1:qe"


def dtls() -> bytes:
    """RFC 6347: a client hello; a server answers with a cookie or an alert."""
    body = b"\xfe\xfd" + b"pync" * 8 + b"\0\0" + b"\0\x08\xc0\x2b\xc0\x2f\0\x9c\0\x2f" + b"\x01\0"
    groups = pack(">4H", 10, 6, 4, 0x17) + pack(">H", 0x18)
    signatures = pack(">5H", 13, 6, 4, 0x0403, 0x0401)
    body += pack(">H", len(groups + signatures)) + groups + signatures
    size = len(body).to_bytes(3, "big")
    hello = b"\x01" + size + b"\0\0" + b"\0\0\0" + size + body
    return b"\x16\xfe\xff" + bytes(8) + pack(">H", len(hello)) + hello


def rx() -> bytes:
    """The version packet of Rx, which AFS servers answer."""
    return pack(">5I", 0x706E6331, 0, 0, 0, 0) + b"\x0d\x05" + bytes(6)


def plex() -> bytes:
    """GDM, the discovery of media servers."""
    return b"M-SEARCH * HTTP/1.1\r\n\r\n"


def ubiquiti() -> bytes:
    """Discovery request, version 1."""
    return b"\x01\0\0\0"


_MAKERS = {
    53: dns, 67: lambda: bytes(1), 69: tftp, 80: quic, 88: kerberos, 111: sunrpc, 123: ntp, 137:
    netbios_names, 161: snmp, 177: xdmcp, 389: cldap, 443: quic, 500: ike, 520: rip, 623: ipmi, 784:
    quic, 853: quic, 1194: openvpn, 1434: sql_browser, 1645: radius, 1701: l2tp, 1812: radius, 1813:
    radius, 1900: ssdp, 2049: nfs, 3478: stun, 3479: stun, 3391: dtls, 3702: ws_discovery, 4433: dtls,
    4500: ike_natt, 5060: sip, 5349: dtls, 5351: nat_pmp, 5353: mdns, 5355: llmnr, 5683: coap, 5684:
    dtls, 6881: bittorrent, 7001: rx, 8443: quic, 8853: quic, 10001: ubiquiti, 11211: memcached, 19132:
    bedrock, 19302: stun, 27015: source_engine, 27960: quake3, 32414: plex, 47808: bacnet,
}  # fmt: skip
