"""Options of scan as somebody types them: what they mean alone, and what they refuse."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import Any

import pytest

import pync
from pync.errors import NetworkError, PartialError
from tests.harness import Processes
from tests.scan.conftest import Alone
from tests.scan.engine import run


def order(**options: Any) -> list[int]:
    return [
        facts["port"] for facts in run("127.0.0.1", ports="1-60", all=True, concurrency=1, **options).ports
    ]


def test_a_seed_alone_is_a_random_order_that_comes_again(alone: Alone) -> None:
    first, again, other = order(seed=7), order(seed=7), order(seed=8)
    assert first == again
    assert first == order(seed=7, randomize=True)
    assert sorted(first) == sorted(other) == list(range(1, 61))
    assert first not in (other, list(range(1, 61)))


def test_until_without_wait_is_refused_and_not_passed_over(processes: Processes) -> None:
    done = processes.run("scan", "127.0.0.1:9", "--until", "closed")
    assert (done.code, done.out, done.err) == (2, b"", "pync: --until needs --wait\n")


def test_interval_without_wait_is_refused(processes: Processes) -> None:
    done = processes.run("scan", "127.0.0.1:9", "--interval", "2s")
    assert (done.code, done.out, done.err) == (2, b"", "pync: --interval needs --wait\n")


@pytest.mark.parametrize(
    "option",
    ["--shard=1/2", "--banner", "--retries=0", "--randomize", "--seed=0", "--all", "--all-addresses"],
)
def test_what_means_nothing_while_waiting_is_refused(option: str, processes: Processes) -> None:
    done = processes.run("scan", "127.0.0.1:9", "--wait", "5s", option)
    name = option.partition("=")[0]
    said, hint = done.err.splitlines()
    assert (done.code, said) == (2, f"pync: {name} does not go with --wait")
    assert hint.startswith("hint: ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-",), "no targets"),
        (("127.0.0.1", "--exclude", "127.0.0.0/8"), "no targets: all are excluded"),
        (("::ffff:127.0.0.1", "--exclude", "127.0.0.1"), "no targets: all are excluded"),
        (("127.0.0.1", "--exclude", "::ffff:127.0.0.0/104"), "no targets: all are excluded"),
    ],
)
def test_nothing_to_ask_is_said(words: tuple[str, ...], said: str, processes: Processes) -> None:
    done = processes.run("scan", *words, "-p", "1")
    assert (done.code, done.out, done.err) == (1, b"", f"pync: scan: {said}\n")


def test_a_shard_without_a_port_is_no_failure(processes: Processes) -> None:
    parts = [processes.run("scan", "127.0.0.1", "-p", "1", "--shard", f"{part}/2") for part in (1, 2)]
    assert [(part.code, part.err) for part in parts] == [(1, "")] * 2


def test_leaving_out_all_of_ipv6_leaves_ipv4(processes: Processes) -> None:
    done = processes.run("scan", "127.0.0.1", "-p", "1", "--all", "--exclude", "::/0", "--grepable")
    assert done.out == b"127.0.0.1:1\n"


def test_a_wait_that_was_cut_short_at_once_still_tells_what_it_saw(processes: Processes) -> None:
    with ExitStack() as stack:
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        done = processes.run("scan", place, "--wait", "300ms", "--expect", "^SSH-")
    assert done.code == 3
    assert done.err == f"pync: wait: not open after 0.3s: {place} (open, but said nothing)\n"


def test_csv_is_lines_that_a_shell_can_read(processes: Processes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = processes.run("scan", "127.0.0.1", "-p", str(port), "--csv", "-n")
    head, line, rest = done.out.split(b"\n")
    assert head == b"target,address,port,proto,state,reason,rtt,service,banner"
    assert line.startswith(b"127.0.0.1,127.0.0.1,%d,tcp,open,syn-ack,0." % port)
    assert rest == b""


def test_python_is_told_of_targets_that_do_not_exist() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"127.0.0.1:{server.getsockname()[1]}"
        assert [found.state for found in pync.scan(place)] == ["open"]
        with pytest.raises(PartialError, match=r"^nobody\.invalid: "):
            pync.scan(["nobody.invalid:1", place])
    with pytest.raises(NetworkError, match=r"^nobody\.invalid: "):
        pync.scan("nobody.invalid", "1")
