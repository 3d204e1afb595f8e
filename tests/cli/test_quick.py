"""The quick parser against Typer: whenever it answers, Typer answers the same."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pync.cli import quick
from pync.cli.generate.model import Option, read
from pync.cli.parse import parse
from pync.errors import UsageError

COMMANDS = {command.name: command for command in read()}
VALUES = {
    "text": ["x", "a b", "-", "--", "-4", "--tls", "name=value", "1", ""],
    "secret": ["7-otter-violin", "x"],
    "duration": ["2", "500ms", "1.5m", "1h", "x", "-1"],
    "size": ["64K", "5MiB", "0", "1.5K", "K"],
    "bytes_above_zero": ["64K", "0", "1"],
    "rate": ["5M", "1MiB/s", "0"],
    "whole": ["1", "3", "63", "007", "-1", "1_0", "\u0663"],
    "port": ["80", "http", "99999"],
    "endpoint": ["unix:/x", "h:9", "9"],
    "commas": ["h2", "h2,http/1.1", ","],
    "fingerprint": ["sha256:" + "ab" * 32, "AB:" * 31 + "AB", "sha256:0"],
    "per_second": ["100", "0"],
    "shard": ["1/4", "4/1", "1"],
}
WORDS = {
    "connect": [["h", "80"], ["h:80"], ["unix:/x"], ["udp://h:9"], ["::1", "9"], ["h"], ["9"], []],
    "listen": [["9000"], ["h", "80"], ["h:80"], ["*", "9"], ["unix:/x"], ["1", "9000"], []],
    "send": [["h", "80"], ["h:80", "f", "g"], ["h", "80", "-"], ["h"], []],
    "recv": [["9000"], ["h:80"], []],
    "scan": [["h"], ["10.0.0.0/8", "@f", "-"], []],
}
JUNK = [
    "-l",
    "-N",
    "-q",
    "--",
    "--help",
    "-h",
    "--nope",
    "--tls=1",
    "-",
    "",
    "--secret",
    "--no-progress",
    "-vvq",
    "1",
]


def spelt(option: Option, value: str, form: int) -> list[str]:
    """One of the ways to write an option with its value."""
    if option.kind is None:
        names = [*option.names, *option.off_names]
        return [names[form % len(names)]]
    if option.action == "optional":
        return [option.long, f"{option.long}={value}"][form % 2 :][:1]
    letters = option.letters or (option.long,)
    ways = [[option.long, value], [f"{option.long}={value}"], [letters[0], value]]
    if option.letters and value:
        ways.append([letters[0] + value])
        ways.append(["-v" + letters[0][1:], value])
    return ways[form % len(ways)]


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    command = COMMANDS[draw(st.sampled_from(sorted(COMMANDS)))]
    pieces = [draw(st.sampled_from(WORDS[command.name]))]
    for option in draw(st.lists(st.sampled_from(command.options), max_size=4)):
        kind = option.kind
        allowed = list(kind.args) if kind and kind.name == "choice" else VALUES[kind.name] if kind else [""]
        value = draw(st.sampled_from(allowed))
        pieces.append(spelt(option, value, draw(st.integers(0, 5))))
    pieces += [[word] for word in draw(st.lists(st.sampled_from(JUNK), max_size=1))]
    return [command.name, *(word for piece in draw(st.permutations(pieces)) for word in piece)]


@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(command_lines())
def test_whenever_quick_answers_typer_answers_the_same(arguments: list[str]) -> None:
    answer = quick.parse(arguments)
    if answer is not None:
        assert parse(arguments) == answer


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(command_lines())
def test_quick_answers_whatever_typer_accepts(arguments: list[str]) -> None:
    if any(word == "-q" and following.isdigit() for word, following in pairwise(arguments)):
        return  # perhaps the `-q SECONDS` of another netcat: left to the one that explains
    try:
        answer = parse(arguments) if not {"-h", "--help"} & set(arguments) else 0
    except UsageError:
        return
    if not isinstance(answer, int):
        assert quick.parse(arguments) == answer


@pytest.mark.parametrize(
    "line",
    [
        "connect host 80",
        "connect -vw2 --rate=5M host:80",
        "connect -uU /run/x",
        "listen -k 9000 -e cat",
        "listen -q 9000",
        "listen 9000 -sx",
        "scan -sx host:80",
        "send --secret host 9000 file",
        "send --secret=7-otter-violin host:9000 -- -file",
        "recv --no-progress 9000 -o -",
        "scan db:5432 --wait 30s -- sh -c true",
    ],
)
def test_plain_calls_do_not_need_typer(line: str) -> None:
    assert quick.parse(line.split()) is not None


@pytest.mark.parametrize(
    "line",
    ["", "--help", "connect --help", "connect", "connect -N h 9", "listen -q 1 9000", "nope 9", "connect h"],
)
def test_everything_else_is_left_to_typer(line: str) -> None:
    assert quick.parse(line.split()) is None


def test_secret_without_words_differs_from_none_and_takes_no_word() -> None:
    for reader in (quick.parse, parse):
        answer = reader(["send", "--secret", "host", "80"])
        assert isinstance(answer, tuple)
        assert (answer[1].secret, answer[1].endpoint.host) == ("", "host")


def test_every_list_of_ports_counts() -> None:
    for reader in (quick.parse, parse):
        scan = reader(["scan", "-p", "6379", "h", "--ports=5432,80-90", "-p!85"])
        assert isinstance(scan, tuple)
        assert scan[1].ports == "6379,5432,80-90,!85"
        assert reader(["scan", "h"])[1].ports is None


def test_words_after_two_dashes_are_a_program_for_scan_and_files_for_send() -> None:
    for reader in (quick.parse, parse):
        scan = reader(["scan", "h:1", "--wait", "1", "--", "ls", "-l", "--", "x"])
        assert isinstance(scan, tuple)
        assert (scan[1].targets, scan[1].command) == (("h:1",), ("ls", "-l", "--", "x"))
        send = reader(["send", "h:1", "--", "-v"])
        assert isinstance(send, tuple)
        assert (send[1].paths, send[1].verbose) == (("-v",), 0)
