"""Rare answers, odd lists of targets, proxies that are slow, systems that tell little."""

from __future__ import annotations

import builtins
import errno
import os
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from pync.commands.checks import check
from pync.commands.options import ScanOptions
from pync.errors import ExitCode, LocalError, TimedOut, UsageError
from pync.scanning import limits, sockets, waiting, words, workers
from tests.scan.conftest import Alone
from tests.scan.engine import listening, run, spec
from tests.scan.test_proxied import proxy
from tests.scan.test_waiting import bound, wait

__all__ = ["proxy"]  # a fixture


# --- lists of targets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "paired"),
    [
        (["h", "80"], ["h:80"]),
        (["h:80", "81"], ["h:80,81"]),
        (["::1", "80"], ["[::1]:80"]),
        (["[::1]", "80-90"], ["[::1]:80-90"]),
        (["-", "80"], ["-", "80"]),
        (["@f", "80"], ["@f", "80"]),
        (["h", "g"], ["h", "g"]),
        (["h", "-1"], ["h", "-1"]),
        (["80"], ["80"]),
    ],
)
def test_a_host_and_its_ports_as_two_words(given: list[str], paired: list[str]) -> None:
    assert words.pair_words(given) == paired


def test_a_file_without_lines_is_no_list(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"x" * (words.MAX_LINE + 70_000))
    with pytest.raises(UsageError, match="no list of targets"):
        run(f"@{tmp_path}/binary", ports="1")
    with pytest.raises(LocalError, match="is a directory"):
        run(f"@{tmp_path}", ports="1")


def test_a_line_may_end_with_the_file(tmp_path: Path, listeners: Any) -> None:
    (port,) = listeners(1)
    (tmp_path / "list").write_text(f"# nothing\n\n127.0.0.1 {port}")
    assert run(f"@{tmp_path}/list").states() == {port: "open"}


def test_a_list_may_begin_with_a_byte_order_mark(tmp_path: Path, listeners: Any) -> None:
    (port,) = listeners(1)
    (tmp_path / "list").write_text(f"127.0.0.1 {port}\n", encoding="utf-8-sig")
    assert run(f"@{tmp_path}/list").states() == {port: "open"}


@pytest.mark.parametrize(
    ("options", "words_of_it"),
    [
        ({"targets": ("127.0.0.1",), "exclude": ("127.0.0.2:80",)}, "addresses only"),
        ({"targets": ("unix:/run/x",)}, "a Unix socket has no ports"),
        ({"targets": ("-", "-")}, "given twice"),
        ({"targets": ()}, "needs a target"),
        ({"targets": ("127.0.0.1",), "ipv6": True}, "not an IPv6 address"),
        ({"targets": ("localhost",), "numeric": True}, "--numeric forbids"),
    ],
)
def test_targets_that_make_no_sense(options: dict[str, Any], words_of_it: str) -> None:
    targets = options.pop("targets")
    with pytest.raises(UsageError, match=words_of_it):
        run(*targets, ports="1", **options)


def test_a_bad_word_of_a_file_is_one_failure_and_the_others_are_scanned(
    tmp_path: Path, listeners: Any
) -> None:
    (port,) = listeners(1)
    (tmp_path / "list").write_text(f"10.0.0.0/99\n127.0.0.1:{port}\nfe80::1%no-such-0:{port}\n")
    done = run(f"@{tmp_path}/list", ports=str(port))
    assert (done.code, done.states()) == (ExitCode.PARTIAL, {port: "open"})
    (bad, *rest) = [event.facts["message"] for event in done.events if event.kind == "error"]
    assert f"{tmp_path}/list: " in bad
    assert len(rest) == 1


def test_an_excluded_name_is_all_its_addresses(listeners: Any) -> None:
    (port,) = listeners(1)
    done = run("127.0.0.0/30", ports=str(port), exclude=("localhost",), all=True)
    assert "127.0.0.1" not in {facts["address"] for facts in done.ports}
    assert len(done.ports) == 3


# --- through a proxy ---------------------------------------------------------------------------------------


@pytest.fixture
def speaking(stack: ExitStack) -> int:
    """A port that says hello to each client."""
    sock = stack.enter_context(listening())
    stack.callback(sock.shutdown, socket.SHUT_RDWR)

    def serve() -> None:
        with suppress(OSError):
            while True:
                client = sock.accept()[0]
                with client:
                    client.sendall(b"SSH-2.0-x\r\n")

    threading.Thread(target=serve, daemon=True).start()
    return int(sock.getsockname()[1])


@pytest.fixture
def piping(stack: ExitStack) -> str:
    """A SOCKS proxy that passes on what the target says first."""
    sock = stack.enter_context(listening())
    stack.callback(sock.shutdown, socket.SHUT_RDWR)

    def serve() -> None:
        with suppress(OSError):
            while True:
                client = sock.accept()[0]
                with client, suppress(OSError):
                    client.recv(client.recv(2)[1])
                    client.sendall(b"\x05\0")
                    request = client.recv(10, socket.MSG_WAITALL)
                    place = socket.inet_ntoa(request[4:8]), int.from_bytes(request[8:10], "big")
                    with socket.create_connection(place, 5) as target:
                        client.sendall(b"\x05\0\0\x01" + bytes(6) + target.recv(100))
                        client.recv(1)

    threading.Thread(target=serve, daemon=True).start()
    return f"socks5://127.0.0.1:{sock.getsockname()[1]}"


def test_a_banner_through_a_proxy(piping: str, speaking: int) -> None:
    (facts,) = run("127.0.0.1", ports=str(speaking), proxy=(piping,), banner=True).ports
    assert facts["banner"] == {"protocol": "ssh", "text": "SSH-2.0-x"}


def test_targets_that_come_one_by_one_go_through_a_proxy_at_a_rate(
    proxy: str, listeners: Any, tmp_path: Path
) -> None:
    opened = listeners(3)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def feed() -> None:
        with fifo.open("w") as list_:
            for port in opened:
                list_.write(f"127.0.0.1:{port}\n")
                list_.flush()

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    done = run(f"@{fifo}", ports="1", proxy=(proxy,), rate=100.0, concurrency=1)
    thread.join(10)
    assert done.states() == dict.fromkeys(opened, "open")


def test_a_proxy_without_an_answer_makes_a_port_filtered(stack: ExitStack) -> None:
    sock = stack.enter_context(listening())
    gone = f"socks5://127.0.0.1:{sock.getsockname()[1]}"
    done = run("127.0.0.1", ports="9", proxy=(gone,), all=True, timeout=0.2)
    assert [(facts["state"], facts["reason"]) for facts in done.ports] == [("filtered", "no answer")]


def test_udp_ports_of_a_list_do_not_go_through_a_proxy(proxy: str) -> None:
    with pytest.raises(UsageError, match="TCP"):
        run("127.0.0.1", ports="U:53", proxy=(proxy,))


# --- answers over UDP --------------------------------------------------------------------------------------


def answering(stack: ExitStack, port: int, reply: Callable[[socket.socket, Any], None]) -> int:
    sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.bind(("127.0.0.1", port))
    sock.settimeout(10)

    def serve() -> None:
        with suppress(OSError):
            while True:
                reply(sock, sock.recvfrom(2048)[1])

    threading.Thread(target=serve, daemon=True).start()
    return int(sock.getsockname()[1])


def test_what_a_datagram_says_is_its_banner(stack: ExitStack) -> None:
    port = answering(stack, 0, lambda sock, peer: sock.sendto(b"hello there\n", peer))
    (facts,) = run("127.0.0.1", ports=str(port), udp=True, banner=True).ports
    assert facts["banner"] == {"protocol": "", "text": "hello there"}


def test_tftp_answers_from_a_port_of_its_own(alone: Alone, stack: ExitStack) -> None:
    def elsewhere(_: socket.socket, peer: Any) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", 0))
            other.sendto(b"\0\5\0\1not found\0", peer)

    answering(stack, 69, elsewhere)
    done = run("127.0.0.1", ports="69", udp=True, timeout=2.0)
    assert done.states() == {69: "open"}


def test_waiting_for_an_answer_that_is_expected(stack: ExitStack) -> None:
    port = answering(stack, 0, lambda sock, peer: sock.sendto(b"not yet", peer))
    with pytest.raises(TimedOut, match="answered 'not yet'"):
        wait(f"udp://127.0.0.1:{port}", wait=0.5, expect="ready")
    assert wait(f"udp://127.0.0.1:{port}", expect="not y.t")[0] == ExitCode.OK


def test_waiting_until_a_datagram_port_refuses() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.connect(("127.0.0.1", 9))  # refuses everybody else
        where = f"udp://127.0.0.1:{sock.getsockname()[1]}"
        code, events = wait(where, until="closed")
    (port,) = [event.facts for event in events if event.kind == "port"]
    assert (code, port["state"], port["reason"]) == (ExitCode.OK, "closed", "connection refused")


# --- waits -------------------------------------------------------------------------------------------------


def test_a_wait_ends_at_once_where_waiting_mends_nothing() -> None:
    with pytest.raises(UsageError, match="--source"):
        wait("127.0.0.1:9", source="::1")


def test_only_so_many_tries_are_made_at_the_same_time(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "AT_ONCE", 1)
    places = [bound(stack) for _ in range(3)]
    for sock in places:
        sock.listen()
    code, events = wait(*(f"127.0.0.1:{sock.getsockname()[1]}" for sock in places))
    assert (code, events[-1].facts["ready"]) == (ExitCode.OK, 3)


def test_a_service_that_resets_said_nothing(stack: ExitStack) -> None:
    """Whether the reset comes before or after the look at the new connection."""
    sock = bound(stack)
    sock.listen()
    stack.callback(sock.shutdown, socket.SHUT_RDWR)

    def serve() -> None:
        with suppress(OSError):
            while True:
                client = sock.accept()[0]
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                client.close()

    threading.Thread(target=serve, daemon=True).start()
    with pytest.raises(TimedOut, match=r"open, but said nothing|connection reset"):
        wait(f"127.0.0.1:{sock.getsockname()[1]}", wait=0.5, expect="hello")


# --- what the system tells ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ((2, 3, 13, errno.EHOSTUNREACH), ("filtered", "admin prohibited")),
        ((3, 1, 1, errno.EACCES), ("filtered", "admin prohibited")),
        ((2, 3, 3, errno.ECONNREFUSED), ("closed", "refused")),
        ((2, 3, 1, errno.EHOSTUNREACH), sockets.verdict(errno.EHOSTUNREACH)),
    ],
)
def test_icmp_tells_why(entry: tuple[int, int, int, int], found: tuple[str, str]) -> None:
    assert sockets.icmp_verdict(*entry) == found


def test_which_addresses_are_ours_and_which_can_be_spoken_to(alone: Alone) -> None:
    """In a network with a loopback only."""
    assert sockets.is_ours("127.9.9.9")
    assert sockets.is_ours("::1")
    assert not sockets.is_ours("192.0.2.1")
    assert not sockets.is_ours("2001:db8::1")
    assert sockets.reachable_family("127.0.0.1")


def test_where_nobody_tells_which_ports_are_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.open

    def closed(path: Any, *rest: Any, **named: Any) -> Any:
        if str(path).startswith("/proc/sys"):
            raise PermissionError(errno.EACCES, "no")
        return real(path, *rest, **named)

    monkeypatch.setattr(builtins, "open", closed)
    assert sockets.lent_ports() == range(1024, 65_536)


def test_a_limit_of_descriptors_that_cannot_be_raised_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (10, 20))

    def refuse(*_: object) -> None:
        raise ValueError("not allowed")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert limits.raise_descriptor_limit() is None
    limits.restore_descriptor_limit(None)


def test_a_process_with_threads_or_without_proc_is_not_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "listdir", lambda _: ["1", "2"])
    assert not workers._single_threaded()
    monkeypatch.setattr(os, "listdir", lambda _: ["1"])
    assert workers._single_threaded()

    def missing(_: str) -> list[str]:
        raise FileNotFoundError

    monkeypatch.setattr(os, "listdir", missing)
    assert not workers._single_threaded()


def test_few_ports_or_udp_are_asked_by_one_process(monkeypatch: pytest.MonkeyPatch, listeners: Any) -> None:
    monkeypatch.setenv("PYNC_SCAN_WORKERS", "4")
    monkeypatch.setattr(workers, "WORTH", 1)
    monkeypatch.setattr(workers, "_single_threaded", lambda: True)

    def no_fork() -> int:
        raise AssertionError("forked")

    monkeypatch.setattr(os, "fork", no_fork)
    opened = listeners(2)
    assert run("127.0.0.1", ports=spec(*opened), concurrency=2).states() == dict.fromkeys(opened, "open")
    assert run("127.0.0.1", ports=str(opened[0]), udp=True, timeout=0.1, retries=0).summary["done"] == 1


def accepted(sock: socket.socket) -> int:
    """How many connections came in so far."""
    sock.setblocking(False)
    number = 0
    with suppress(BlockingIOError):
        while True:
            sock.accept()[0].close()
            number += 1
    return number


@pytest.mark.parametrize("target", ["127.0.0.1-2", "localhost"])
def test_a_wait_never_asks_what_is_excluded(target: str) -> None:
    with listening() as sock:
        with pytest.raises((TimedOut, UsageError), match=r"127\.0\.0\.2|--exclude"):
            wait(f"{target}:{sock.getsockname()[1]}", exclude=("127.0.0.1,::1",), wait=0.3)
        assert accepted(sock) == 0


def test_a_wait_where_everything_is_excluded_is_said() -> None:
    with pytest.raises(UsageError, match="--exclude leaves nothing"):
        wait("10.0.0.0/8:22", "[2001:db8::/64]:22", exclude=("10.0.0.0/8", "2001:db8::/32"), wait=0.1)


def test_a_proxy_is_not_trusted_to_keep_an_exclusion(proxy: str) -> None:
    with pytest.raises(UsageError, match="--exclude cannot be kept for localhost"):
        wait("localhost:22", exclude=("127.0.0.9",), proxy=(proxy,), wait=0.1)


def test_tries_of_a_wait_keep_to_the_rate(stack: ExitStack) -> None:
    """Of many tries that could start at once, only so many do in the time there is."""
    places = [stack.enter_context(listening()) for _ in range(20)]
    with pytest.raises(TimedOut):
        wait(*(f"127.0.0.1:{sock.getsockname()[1]}" for sock in places), rate=10.0, wait=0.5)
    assert 1 <= sum(map(accepted, places)) <= 6


def test_expected_bytes_may_be_any(stack: ExitStack) -> None:
    port = answering(stack, 0, lambda sock, peer: sock.sendto(b"\xff\xfd", peer))
    assert wait(f"udp://127.0.0.1:{port}", expect="^\udcff")[0] == ExitCode.OK
    with pytest.raises(UsageError, match="--expect"):
        wait(f"udp://127.0.0.1:{port}", expect="\ud800", wait=0.1)


def test_an_empty_command_is_refused_before_the_wait() -> None:
    with pytest.raises(UsageError, match="empty"):
        check(ScanOptions(targets=("127.0.0.1:22",), wait=1.0, command=("", "x")))
