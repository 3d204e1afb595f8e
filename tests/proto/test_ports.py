"""Port specifications."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pync.errors import UsageError
from pync.proto import ports
from pync.proto.ports import UDP, parse


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("22", (22,)),
        ("22,80", (22, 80)),
        (" 22 , 80 ", (22, 80)),
        ("80,22,80", (80, 22)),
        ("8000-8003", (8000, 8001, 8002, 8003)),
        ("8003-8000", (8000, 8001, 8002, 8003)),
        ("-3", (1, 2, 3)),
        ("65533-", (65533, 65534, 65535)),
        ("0", (0,)),
        ("0-2", (0, 1, 2)),
        ("http", (80,)),
        ("ftp-data", (20,)),
        ("ftp-data-ssh", (20, 21, 22)),
        ("ssh-24", (22, 23, 24)),
        ("8000-8003,!8001-8002", (8000, 8003)),
        ("20-22,!ssh", (20, 21)),
        ("!8001,8000-8002", (8000, 8002)),
        ("U:53", (53 | UDP,)),
        ("22,U:53,80", (22, 53 | UDP, 80)),
        ("u:53,t:22", (53 | UDP, 22)),
        ("53,U:53,!53,54", (54,)),
        ("53,U:53,!U:53", (53,)),
        ("U:ntp", (123 | UDP,)),
    ],
)
def test_grammar(text: str, wanted: tuple[int, ...]) -> None:
    assert parse(text) == wanted


def test_udp_is_the_default_when_asked_for() -> None:
    assert parse("53,T:22", udp=True) == (53 | UDP, 22)


@pytest.mark.parametrize("text", ["all", "-"])
def test_all_ports(text: str) -> None:
    assert parse(text) == tuple(range(1, 65536))


def test_only_exclusions_start_from_the_default() -> None:
    assert parse("!80") == tuple(code for code in ports.top(100) if code != 80)


@pytest.mark.parametrize(
    "text",
    [
        "", ",", "22,,80", "65536", "99999999999", "no-such-service", "80,!80", "1-2-3", "!", "U:", "top0",
        "top1001", "٣", "8o", "1-65536", "http/tcp", "22 80", "\x00",
    ],
)  # fmt: skip
def test_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


def test_numeric_looks_nothing_up() -> None:
    with pytest.raises(UsageError, match="numeric"):
        parse("http", numeric=True)
    assert parse("22,80-81", numeric=True) == (22, 80, 81)


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_top_ports_are_distinct_and_a_prefix_of_the_longer_list(protocol: str) -> None:
    longest = ports.top(1000, protocol)
    assert len(set(longest)) == 1000
    assert ports.top(100, protocol) == longest[:100]
    assert all(ports.protocol_of(code) == protocol for code in longest)
    assert parse("top100", udp=protocol == "udp") == longest[:100]


def test_the_most_wanted_ports_of_each_protocol_lead_its_list() -> None:
    assert set(parse("top5")) >= {22, 80, 443}
    assert {ports.number_of(code) for code in parse("top5", udp=True)} >= {53, 123, 161}
    assert len(parse("top1")) == 1


def test_digits_with_zeros_before_them_are_still_a_port() -> None:
    assert parse("000000080") == (80,)
    for text in ("0000000080", "9" * 5000):
        with pytest.raises(UsageError, match="not in 0-65535"):
            parse(text)


@pytest.mark.parametrize("text", ["", "22,,80", "!", "U:"])
def test_an_empty_item_is_named_as_that(text: str) -> None:
    with pytest.raises(UsageError, match="empty item"):
        parse(text)


def test_services_the_system_does_not_know_have_names() -> None:
    assert ports.service_name(27017) == "mongodb"
    assert ports.service_name(22) == "ssh"
    assert ports.service_name(53 | UDP) == "domain"
    assert ports.service_port("mongodb", "tcp") == 27017


@pytest.mark.parametrize(("count", "protocol"), [(0, "tcp"), (1001, "tcp"), (1001, "udp")])
def test_the_table_has_a_thousand_ports_of_each_protocol(count: int, protocol: str) -> None:
    with pytest.raises(UsageError, match=f"the top 1 to 1000 {protocol} ports"):
        ports.top(count, protocol)


def test_the_system_is_asked_for_names_it_can_know(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def getservbyname(name: str, protocol: str) -> int:
        asked.append((name, protocol))
        if name != "mine":
            raise OSError
        return 4242

    monkeypatch.setattr(socket, "getservbyname", getservbyname)
    assert ports.service_port("mine", "udp") == 4242
    assert ports.service_port("mongodb", "tcp") == 27017
    assert asked == [("mine", "udp"), ("mongodb", "tcp")]
    for name in ("", "m\u00efne", "mi\0ne", "mine\n"):
        assert ports.service_port(name, "tcp") is None
    assert len(asked) == 2


@given(
    st.lists(st.tuples(st.integers(0, 65535), st.integers(0, 65535), st.booleans()), min_size=1, max_size=6)
)
def test_ranges_mean_what_sets_mean(items: list[tuple[int, int, bool]]) -> None:
    wanted: set[int] = set()
    refused: set[int] = set()
    words = []
    for low, high, negative in [*items, (7, 7, False)]:
        words.append(f"{'!' if negative else ''}{low}-{high}")
        (refused if negative else wanted).update(range(min(low, high), max(low, high) + 1))
    if wanted - refused:
        assert set(parse(",".join(words))) == wanted - refused
    else:
        with pytest.raises(UsageError):
            parse(",".join(words))


@given(st.text(max_size=20))
def test_any_text_is_ports_or_a_usage_error(text: str) -> None:
    try:
        codes = parse(text)
    except UsageError:
        return
    assert codes
    assert all(0 <= ports.number_of(code) <= 65535 for code in codes)
