import ipaddress
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pync.errors import UsageError
from pync.proto import access
from pync.proto.access import AccessList, Name


def allows(rules: str, address: str) -> bool:
    return AccessList(access.parse(rules)).admits(address)


@pytest.mark.parametrize(
    ("rules", "inside", "outside"),
    [
        ("10.0.0.1", ["10.0.0.1", "::ffff:10.0.0.1"], ["10.0.0.2", "::1", "::a00:1"]),
        ("10.0.0.0/8", ["10.255.3.4"], ["11.0.0.0", "9.255.255.255"]),
        ("10.1.2.3/8", ["10.255.3.4"], ["11.0.0.0"]),
        ("10.0.0.0/255.255.255.0", ["10.0.0.255"], ["10.0.1.0"]),
        ("0.0.0.0/0", ["1.2.3.4"], ["::1"]),
        ("10.0.0-3.1-20", ["10.0.0.1", "10.0.3.20"], ["10.0.4.1", "10.0.0.21", "10.0.0.0"]),
        ("10.0.0.20-1", ["10.0.0.1", "10.0.0.20"], ["10.0.0.21"]),
        ("10.*.0.1", ["10.7.0.1"], ["10.7.0.2", "10.7.1.1"]),
        ("10.0.0.*", ["10.0.0.0", "10.0.0.255"], ["10.0.1.0"]),
        ("10.0-1.*.*", ["10.0.0.0", "10.1.255.255"], ["10.2.0.0"]),
        ("10.0.0.250-10.0.1.5", ["10.0.0.250", "10.0.1.5"], ["10.0.0.249", "10.0.1.6"]),
        ("::1", ["::1", "0:0:0:0:0:0:0:1"], ["::2", "0.0.0.1"]),
        ("2001:db8::/33", ["2001:db8:7fff::1"], ["2001:db8:8000::"]),
        ("::1-::ff", ["::1", "::ff"], ["::", "::100"]),
        ("::ffff:10.0.0.0/104", ["10.9.9.9", "::ffff:10.1.1.1"], ["11.0.0.0"]),
        ("::/0", ["::1"], ["1.2.3.4", "::ffff:1.2.3.4"]),
        ("fe80::/10", ["fe80::1%eth0", "fe80::1"], ["fec0::1"]),
        ("fe80::1%eth0", ["fe80::1%eth0"], ["fe80::1%eth1", "fe80::1", "fe80::2%eth0"]),
        ("fe80::%eth0/64", ["fe80::5%eth0"], ["fe80::5%eth1"]),
        ("*", ["1.2.3.4", "::1", ""], []),
        ("10.0.0.1,::1 , 10.0.0.2", ["10.0.0.1", "::1", "10.0.0.2"], ["10.0.0.3"]),
    ],
)
def test_rule_matches(rules, inside, outside):
    for address in inside:
        assert allows(rules, address), address
    for address in outside:
        assert not allows(rules, address), address


@pytest.mark.parametrize(
    ("rule", "word"),
    [
        ("10.0.0.256", "10.0.0.256"),
        ("10.0.0.0-300", "0-300 is not between 0 and 255"),
        ("10.0.0", "10.0.0"),
        ("10.0.0.0/33", "0 to 32"),
        ("10.0.0.0/0008", "0 to 32"),
        ("10.0.0.0-256", "0-256 is not between 0 and 255"),
        ("10.0.0.0/", "0 to 32"),
        ("10.0.0.0/-1", "0 to 32"),
        ("::1/129", "0 to 128"),
        ("::ffff:10.0.0.1/95", "96"),
        ("10.0.0.0/255.0.255.0", "netmask"),
        ("::1/255.0.0.0", "netmask"),
        ("10.0.0.1-::1", "family"),
        ("fe80::1%a-fe80::2%a", "zone"),
        ("fe80::1%a-fe80::2", "zone"),
        ("fe80::1-fe80::2%a", "zone"),
        (":::", ":::"),
        ("a_b!", "a_b!"),
        ("-", "'-'"),
        ("ok,\x1b[31m", r"\x1b[31m"),
        ("1.2.3.4.", "1.2.3.4."),
        ("a..b", "a..b"),
    ],
)
def test_bad_rule_says_what_is_wrong(rule, word):
    with pytest.raises(UsageError) as caught:
        access.parse(rule)
    assert word in caught.value.message
    assert "bad access rule" in caught.value.message
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("rule", ["10.0.0.20-1", "10.0-1.*.*", "*.*.*.*", "10.0.0.1"])
def test_what_is_one_run_of_addresses_is_looked_up_as_networks(rule):
    assert {type(part) for part in access.parse(rule)} == {access.Network}


def test_names_are_left_to_the_caller():
    rules = access.parse("db.example,host-1,other.example/24,localhost.")
    assert rules == [Name("db.example"), Name("host-1"), Name("other.example", 24), Name("localhost.")]


def test_a_name_stands_for_its_addresses():
    (name,) = access.parse("other.example/24")
    admits = AccessList(name.rules(["10.0.0.9", "2001:db8::1"])).admits
    assert admits("10.0.0.77")
    assert admits("2001:d00::1")
    assert not admits("10.0.1.9")


def test_file_with_remarks_and_blank_lines():
    text = "# friends\n\n10.0.0.1, 10.0.0.2 # two of them\r\n  ::1\n"
    admits = AccessList(access.parse_file(text)).admits
    assert all(admits(address) for address in ("10.0.0.1", "10.0.0.2", "::1"))
    assert not admits("10.0.0.3")


def test_bad_line_of_a_file_is_named():
    with pytest.raises(UsageError, match=r"hosts:3: bad access rule '10\.0\.0\.999'"):
        access.parse_file("# a\n10.0.0.1\n10.0.0.999\n", name="hosts")


def test_without_lists_everybody_may():
    assert AccessList(None).admits("1.2.3.4")
    assert AccessList(None).admits("")


def test_an_empty_allow_list_admits_nobody():
    assert not AccessList([]).admits("1.2.3.4")
    assert not AccessList([]).admits("")


def test_deny_beats_allow():
    admits = AccessList(access.parse("10.0.0.0/8"), access.parse("10.6.6.6,::1")).admits
    assert admits("10.0.0.1")
    assert not admits("10.6.6.6")
    assert not admits("::ffff:10.6.6.6")
    assert not AccessList(access.parse("*"), access.parse("*")).admits("10.0.0.1")


def test_unix_peers_have_no_address():
    assert AccessList(None, access.parse("0.0.0.0/0,::/0")).admits("")
    assert not AccessList(access.parse("0.0.0.0/0,::/0")).admits("/run/peer.sock")
    assert not AccessList(None, access.parse("*")).admits("@abstract")


def test_unknown_zone_denies_but_does_not_allow():
    rules = access.parse("fe80::1%eth0")
    assert not AccessList(None, rules).admits("fe80::1")
    assert not AccessList(rules).admits("fe80::1")


@given(st.ip_addresses(), st.integers(0, 128), st.ip_addresses())
def test_networks_agree_with_the_standard_library(base, prefix, address):
    prefix = min(prefix, base.max_prefixlen)
    network = ipaddress.ip_network((base, prefix), strict=False)
    mapped = getattr(base, "ipv4_mapped", None) or getattr(address, "ipv4_mapped", None)
    if mapped is None:
        assert allows(f"{base}/{prefix}", str(address)) == (address in network)
    assert allows(str(base), str(base))


octet_range = st.tuples(st.integers(0, 255), st.integers(0, 255)).map(lambda ends: (min(ends), max(ends)))


@given(st.lists(octet_range, min_size=4, max_size=4), st.ip_addresses(v=4))
def test_octet_ranges_mean_each_octet(bounds, address):
    rule = ".".join(f"{low}-{high}" for low, high in bounds)
    octets = address.packed
    expected = all(low <= octet <= high for octet, (low, high) in zip(octets, bounds, strict=True))
    assert allows(rule, str(address)) == expected
    assert allows(rule, ".".join(str(low) for low, _ in bounds))
    assert allows(rule, ".".join(str(high) for _, high in bounds))


@given(st.text(max_size=30))
def test_any_text_is_rules_or_a_usage_error(text):
    try:
        rules = access.parse(text)
    except UsageError:
        return
    AccessList([rule for rule in rules if not isinstance(rule, Name)]).admits("10.0.0.1")


def test_thousands_of_rules_cost_no_search():
    text = ",".join(f"10.{n >> 8}.{n & 255}.7" for n in range(50_000)) + ",192.168.0-255.1-254"
    admits = AccessList(None, access.parse(text)).admits
    assert not admits("10.5.5.7")
    start = time.process_time()
    for _ in range(1000):
        assert admits("11.5.5.7")
    assert time.process_time() - start < 1.0  # a search through 50,000 rules would take minutes
