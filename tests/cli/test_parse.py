"""What a command line means, and what a wrong one is told: one line, and the spelling that was meant."""

from __future__ import annotations

import pytest

from pync.cli.parse import parse
from pync.commands import options as opt
from pync.endpoint import Endpoint
from pync.errors import UsageError


def refused(line: str | list[str]) -> UsageError:
    with pytest.raises(UsageError) as caught:
        parse(line.split() if isinstance(line, str) else line)
    assert "\n" not in caught.value.message
    return caught.value


def parsed(line: str) -> opt.Shared:
    answer = parse(line.split())
    assert isinstance(answer, tuple)
    return answer[1]


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("-l 9000", "pync listen 9000"),
        ("-lvp 9000", "pync listen -v 9000"),
        ("-l -p 9000", "pync listen 9000"),
        ("-lk -p 99", "pync listen -k 99"),
        ("-lU /run/x", "pync listen -U /run/x"),
        ("--listen 9000 --ssl", "pync listen --tls 9000"),
        ("host 80", "pync connect host 80"),
        ("host:80", "pync connect host:80"),
        ("-u host 53", "pync connect -u host 53"),
        ("-N host 80", "pync connect host 80"),
        ("-q 1 host 80", "pync connect --quit-after 1 host 80"),
        ("-p 5 host 80", "pync connect -p 5 host 80"),
        ("-zv host 1-100", "pync scan host -p 1-100"),
        ("-z host 80", "pync connect -z host 80"),
        ("conect host 80", "pync connect host 80"),
        ("lisen 9000", "pync listen 9000"),
        ("help listen", "pync listen --help"),
        ("help", "pync --help"),
        ("version", "pync --version"),
        ("-v listen 9000", "pync listen -v 9000"),
    ],
)
def test_a_line_for_another_netcat_gets_the_pync_line(line: str, meant: str) -> None:
    assert refused(line).hint == f"did you mean: {meant}"


@pytest.mark.parametrize("line", ["frobnicate", "--nope", "-l", "-l a b c"])
def test_a_line_that_means_nothing_gets_the_commands(line: str) -> None:
    assert "connect, listen, send, recv, scan" in str(refused(line).hint)


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("connect -N host 80", "--no-shutdown"),
        ("connect -d host 80", "--recv-only"),
        ("connect -l 80", "pync listen PORT"),
        ("connect -k host 80", "pync listen -k"),
        ("connect -q 1 host 80", "--quit-after 1"),
        ("listen -q 5 9000", "--quit-after 5"),
        ("listen -z 9000", "pync connect -z"),
        ("listen -l 9000", "pync listen PORT"),
        ("listen -p 9000", "pync listen 9000"),
        ("send -l 9000", "--listen"),
        ("recv --listen 9000", "pync recv PORT"),
        ("scan -z host", "pync scan HOST"),
        ("connect --ssl host 80", "--tls"),
        ("connect --wait 3 host 80", "--timeout"),
        ("connect -vN host 80", "--no-shutdown"),
    ],
)
def test_a_foreign_letter_gets_the_pync_option(line: str, part: str) -> None:
    assert part in str(refused(line).hint)


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("connect --timeot 3 h 9", "--timeout"),
        ("connect --keepaliv h 9", "--keepalive"),
        ("listen --keep 9", "--keep-open or --keepalive"),
        ("scan --banners h", "--banner"),
    ],
)
def test_a_typo_gets_the_nearest_option(line: str, part: str) -> None:
    error = refused(line)
    assert "no such option" in error.message
    assert part in str(error.hint)


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("connect -w soon h 9", "500ms, 2, 2s, 1.5m or 1h"),
        ("connect --rate fast h 9", "500K, 5M or 1MiB"),
        ("connect --peer-eof maybe h 9", "auto, quit, continue"),
        ("connect --dscp 64 h 9", "from 0 to 63"),
        ("connect --max-packets 0 h 9", "1 or more"),
        ("connect --tls-fingerprint abc h 9", "sha256:"),
        ("scan --shard 5/4 h", "1/4"),
        ("listen --forward nonsense 9", "has no port"),
        ("connect h 99999", "0-65535"),
    ],
)
def test_a_wrong_value_is_told_what_is_allowed(line: str, part: str) -> None:
    assert part in refused(line).message


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("connect", "needs an ENDPOINT"),
        ("scan", "needs a TARGET"),
        ("connect h 9 more", "unexpected argument 'more'"),
        ("connect --peer-eof", "--peer-eof needs a value"),
        ("connect --crlf=1 h 9", "--crlf takes no value"),
        ("connect -4 -6 h 9", "--ipv4 and --ipv6 exclude each other"),
        ("connect -e x -c y h 9", "--exec and --sh-exec exclude each other"),
        ("listen --echo --discard 9", "exclude each other"),
        ("connect --append h 9", "--append needs --output or --hex-dump"),
        ("connect -u --tls h 9", "DTLS"),
        ("connect -u tcp://h:9", "-u contradicts"),
        ("connect -u --proxy socks5://p:1 h 9", "--proxy carries TCP only"),
        ("send -k h:9", "needs --listen"),
        ("send --to 2 h:9", "--to needs --listen"),
        ("recv --secret-words 2 9", "--secret-words needs --secret or --secret-file"),
        ("recv --tries 3 9", "--tries needs --secret or --secret-file"),
        ("send --tries 1 h:9", "--tries needs --secret or --secret-file"),
        ("send --port-file f h:9", "--port-file needs --listen"),
        ("send --raw --ready-fd 3 h:9", "--ready-fd needs --listen"),
        ("recv --connect --port-file f h:9", "--connect and --port-file exclude each other"),
        ("recv --connect --ready-fd 3 h:9", "--connect and --ready-fd exclude each other"),
        ("send --raw h:9 a b", "--raw sends one file"),
        ("send --raw --listen --to 2 9", "--raw and --to exclude each other"),
        ("send --raw --listen -k 9", "--raw and --keep-open exclude each other"),
        ("recv --raw --count 2 9", "--raw and --count exclude each other"),
        ("recv --raw -k 9", "--raw and --keep-open exclude each other"),
        ("recv --connect --count 2 h:9", "--connect and --count exclude each other"),
        ("recv --connect -k h:9", "--connect and --keep-open exclude each other"),
        ("listen --proxy socks5://p:1 9", "--proxy is for connections going out, listen takes them in"),
        ("recv --proxy socks5://p:1 9", "--proxy is for connections going out, recv takes them in"),
        ("send --listen --proxy socks5://p:1 9", "going out, send --listen takes them in"),
        ("scan h -- ls", "needs --wait"),
        ("recv --overwrite --skip 9", "exclude each other"),
        ("connect --datagram-size 9 h 9", "-u or unix-dgram:"),
    ],
)
def test_contradictions_are_named(line: str, part: str) -> None:
    assert part in refused(line).message


def test_control_characters_of_an_argument_do_not_pass() -> None:
    error = refused(["connect", "--no\x1b[31m", "h", "9"])
    assert "no such option" in error.message


@pytest.mark.parametrize(
    ("line", "endpoint"),
    [
        ("connect h 80", Endpoint("tcp", "h", 80)),
        ("connect -u h 80", Endpoint("udp", "h", 80)),
        ("connect -U /x", Endpoint("unix", path="/x")),
        ("connect -uU /x", Endpoint("unix-dgram", path="/x")),
        ("connect --tls h 80", Endpoint("tcp", "h", 80)),
        ("connect tls://h:80", Endpoint("tls", "h", 80)),
        ("connect ::1 9000", Endpoint("tcp", "::1", 9000)),
        ("listen 9000", Endpoint("tcp", "", 9000)),
        ("recv -u 9000", Endpoint("udp", "", 9000)),
        ("recv --connect h 9000", Endpoint("tcp", "h", 9000)),
        ("send --listen 9000 f", Endpoint("tcp", "", 9000)),
    ],
)
def test_endpoints(line: str, endpoint: Endpoint) -> None:
    options = parsed(line)
    assert isinstance(options, opt.SocketOptions)
    assert options.endpoint == endpoint


def test_paths_of_send_follow_the_endpoint() -> None:
    for line in ("send host 9000 a.txt b.txt", "send host:9000 a.txt b.txt", "send unix:/x a.txt b.txt"):
        options = parsed(line)
        assert isinstance(options, opt.SendOptions)
        assert options.paths == ("a.txt", "b.txt")


def test_options_reject_unknown_names_and_hide_secrets() -> None:
    with pytest.raises(TypeError, match="nonsense"):
        opt.ConnectOptions(nonsense=1)
    shown = repr(opt.SendOptions(secret="7-otter", proxy=("socks5://u:p@h:1",)))
    assert "otter" not in shown
    assert "u:p" not in shown


def test_a_default_spelt_out_equals_one_left_out() -> None:
    assert opt.ListenOptions(grace=2.0) == opt.ListenOptions()
    assert opt.ListenOptions(grace=3.0) != opt.ListenOptions()


@pytest.mark.parametrize(
    ("word", "meant"),
    [("--verison", "--version"), ("--hlep", "--help"), ("--instal-completion", "--install-completion")],
)
def test_a_typo_of_an_option_of_pync_itself(word: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"no such option: {word}") as failure:
        parse([word])
    assert failure.value.hint == f"did you mean: pync {meant}"
