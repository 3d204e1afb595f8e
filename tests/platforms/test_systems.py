"""Every command on every system: what a system lacks costs speed, never an answer."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.harness import pattern
from tests.platforms.conftest import Elsewhere, read_all

BULK = pattern(3_000_000)
LARGEST = 65_507


def test_what_is_lacking_is_really_gone(elsewhere: Elsewhere) -> None:
    """The same interpreter with the same environment has not what it should not have."""
    checks = {
        "epoll": "not hasattr(select, 'epoll')",
        "splice": "not hasattr(os, 'splice')",
        "sendfile": "not hasattr(os, 'sendfile')",
        "ipv6": "not socket.has_ipv6",
        "unix": "not hasattr(socket, 'AF_UNIX')",
        "pidfd": "not hasattr(os, 'pidfd_open')",
        "nowait": "not hasattr(socket, 'MSG_DONTWAIT')",
        "tcp-info": "not hasattr(socket, 'TCP_INFO')",
        "unix-modules": "sys.modules['fcntl'] is None",
        "poll": "not hasattr(select, 'poll')",
        "vectors": "not hasattr(os, 'readv')",
        "messages": "not hasattr(socket.socket(), 'recvmsg')",
        "spawn": "not hasattr(os, 'posix_spawnp')",
        "dir-fd": "os.open not in os.supports_dir_fd",
        "windows": "sys.platform == 'win32' and not hasattr(os, 'readv') and not hasattr(select, 'poll')",
        "proc": "not os.path.exists('/proc/self') or 'open' in str(open)",
        "darwin": "sys.platform == 'darwin'",
    }
    wanted = " and ".join(checks.get(name, "True") for name in elsewhere.what)
    program = f"import os, select, socket, sys; sys.exit(not ({wanted}))"
    assert elsewhere.processes.spawn(sys.executable, "-c", program, env=elsewhere.env).wait().code == 0


@pytest.mark.parametrize("source", ["pipe", "file"])
def test_connect_sends_all_and_receives_all(elsewhere: Elsewhere, tmp_path: Path, source: str) -> None:
    """Both directions at once, out of a pipe or a file and into a file."""
    listener, place = elsewhere.bound()
    given, got = tmp_path / "given", tmp_path / "got"
    given.write_bytes(BULK)
    with given.open("rb") as stdin, got.open("wb") as stdout:
        options = {"stdin": stdin} if source == "file" else {}
        process = elsewhere.pync("connect", place, stdout=stdout, **options)
        peer = elsewhere.accept(listener)
        answer = threading.Thread(target=lambda: (peer.sendall(BULK[::-1]), peer.shutdown(socket.SHUT_WR)))
        answer.start()
        if source == "pipe":
            feeder = threading.Thread(target=lambda: (process.write(BULK), process.close_stdin()))
            feeder.start()
        assert read_all(peer) == BULK
        assert process.wait().code == 0
        answer.join()
        if source == "pipe":
            feeder.join()
    assert got.read_bytes() == BULK[::-1]


@pytest.mark.parametrize("sink", ["pipe", "file"])
def test_listen_receives_all_and_answers(elsewhere: Elsewhere, tmp_path: Path, sink: str) -> None:
    got = tmp_path / "got"
    with got.open("wb") as file:
        process = elsewhere.listen("127.0.0.1", "0", stdout=file if sink == "file" else subprocess.PIPE)
        client = elsewhere.client(process)
        client.sendall(BULK)
        client.shutdown(socket.SHUT_WR)
        result = process.finish(b"thanks")
        assert read_all(client) == b"thanks"
    assert result.code == 0
    assert (got.read_bytes() if sink == "file" else result.out) == BULK


def test_a_reset_is_no_end_of_stream(elsewhere: Elsewhere) -> None:
    listener, place = elsewhere.bound()
    process = elsewhere.pync("connect", place)
    peer = elsewhere.accept(listener)
    peer.sendall(b"half")
    process.expect_bytes(4)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    result = process.wait()
    assert (result.code, result.out) == (1, b"half")
    assert "reset" in result.err


def test_nobody_there_is_a_1(elsewhere: Elsewhere, free_port: int) -> None:
    result = elsewhere.run("connect", f"127.0.0.1:{free_port}")
    assert result.code == 1
    assert "refused" in result.err


def test_many_clients_at_once(elsewhere: Elsewhere) -> None:
    process = elsewhere.listen("--echo", "-k", "127.0.0.1", "0")
    clients = [elsewhere.client(process) for _ in range(20)]
    for number, client in enumerate(clients):
        client.sendall(b"%d" % number * 1000)
        client.shutdown(socket.SHUT_WR)
    for number, client in enumerate(clients):
        assert read_all(client) == b"%d" % number * 1000
    process.signal(signal.SIGTERM)
    assert process.wait().code == elsewhere.died_of(signal.SIGTERM)


@pytest.mark.parametrize("words", [("--broker",), ("--chat",)])
def test_a_room(elsewhere: Elsewhere, words: tuple[str, ...]) -> None:
    process = elsewhere.listen(*words, "-v", "127.0.0.1", "0")
    first, second = elsewhere.client(process), elsewhere.client(process)
    process.expect("connection from.*connection from")
    process.write(b"to all\n")
    for client in (first, second):
        seen = b""
        while b"to all\n" not in seen:
            seen += client.recv(1000)
    first.sendall(b"from one\n")
    seen = b""
    while b"from one\n" not in seen:
        seen += second.recv(1000)


@pytest.mark.parametrize("option", ["-e", "-c"])
def test_a_program_on_the_connection(elsewhere: Elsewhere, option: str) -> None:
    process = elsewhere.listen(option, "tr a-z A-Z", "127.0.0.1", "0")
    client = elsewhere.client(process)
    client.sendall(b"hello")
    client.shutdown(socket.SHUT_WR)
    assert read_all(client) == b"HELLO"
    assert process.wait().code == 0


def test_the_status_of_a_program_is_told(elsewhere: Elsewhere) -> None:
    process = elsewhere.listen("-c", "cat >/dev/null; exit 3", "127.0.0.1", "0")
    client = elsewhere.client(process)
    client.shutdown(socket.SHUT_WR)
    assert process.wait().code == 1


def test_datagrams_out_and_back(elsewhere: Elsewhere) -> None:
    peer, place = elsewhere.bound(socket.SOCK_DGRAM)
    process = elsewhere.pync("connect", "-u", place, "--quit-after", "200ms")
    sizes = [1, 1400, 1400, LARGEST]
    sent = [pattern(size, size) for size in sizes]
    for datagram in sent:
        process.write(datagram)
        data, address = peer.recvfrom(1 << 17)
        assert data == datagram
        peer.sendto(datagram[::-1], address)
        process.expect_bytes(sum(map(len, sent[: sent.index(datagram) + 1])))
    assert process.finish().code == 0


def test_many_datagrams_one_after_another(elsewhere: Elsewhere) -> None:
    """Batches, where the system has them, arrive as the datagrams that they are."""
    process = elsewhere.listen("-u", "--max-packets", "50", "--json", "127.0.0.1", "0")
    client = elsewhere.client(process, socket.SOCK_DGRAM)
    for number in range(50):
        client.send(pattern(1000 + number, number))
    result = process.wait()
    assert result.code == 0
    assert result.out == b"".join(pattern(1000 + number, number) for number in range(50))


def test_datagrams_relayed_between_listeners(elsewhere: Elsewhere) -> None:
    """What comes in batches goes out in batches, with every boundary kept."""
    peer, place = elsewhere.bound(socket.SOCK_DGRAM)
    process = elsewhere.listen("-u", "-k", "--forward", f"udp://{place}", "127.0.0.1", "0")
    client = elsewhere.client(process, socket.SOCK_DGRAM)
    sizes = [1200, 1200, 1200, 700, 1200, 1, 9000]
    for size in sizes:
        client.send(pattern(size, size))
    back = None
    for size in sizes:
        data, back = peer.recvfrom(1 << 17)
        assert data == pattern(size, size)
    peer.sendto(b"back", back)
    assert client.recv(100) == b"back"


def test_udp_clients_of_their_own(elsewhere: Elsewhere) -> None:
    process = elsewhere.listen("-u", "-k", "--echo", "127.0.0.1", "0")
    clients = [elsewhere.client(process, socket.SOCK_DGRAM) for _ in range(5)]
    for number, client in enumerate(clients):
        client.send(b"%d" % number)
    for number, client in enumerate(clients):
        assert client.recv(100) == b"%d" % number


@pytest.mark.parametrize("words", [(), ("-u",)])
def test_all_addresses_are_those_there_are(elsewhere: Elsewhere, words: tuple[str, ...]) -> None:
    process = elsewhere.listen(*words, "0")
    kind = socket.SOCK_DGRAM if words else socket.SOCK_STREAM
    client = elsewhere.client(process, kind)
    client.send(b"x")
    process.expect_bytes(1)
    expected = 1 if "ipv6" in elsewhere.what else 2
    process.until(lambda: process.err.count("listening on") >= expected, "the addresses to be said")
    assert process.err.count("listening on") == expected
    assert f"0.0.0.0:{process.port}" in process.err


def test_a_name_with_both_families(elsewhere: Elsewhere) -> None:
    listener, place = elsewhere.bound()
    process = elsewhere.pync("connect", "localhost", place.partition(":")[2])
    peer = elsewhere.accept(listener)
    peer.sendall(b"hello")
    peer.close()
    assert process.finish().out == b"hello"


def test_an_address_of_a_family_that_is_not_there(elsewhere: Elsewhere, ipv6: None, free_port: int) -> None:
    result = elsewhere.run("connect", f"[::1]:{free_port}")
    assert result.code in (1, 2)
    assert "refused" in result.err or "address family not supported" in result.err
    assert ("refused" in result.err) == ("ipv6" not in elsewhere.what)


def test_unix_sockets_or_a_word_about_them(elsewhere: Elsewhere, tmp_path: Path) -> None:
    path = tmp_path / "s"
    if elsewhere.lacks("unix", "windows"):
        for words in (
            ("connect", f"unix:{path}"),
            ("listen", f"unix:{path}"),
            ("connect", f"unix-dgram:{path}"),
        ):
            result = elsewhere.run(*words)
            assert (result.code, result.err) == (2, "pync: this system has no Unix sockets\n")
        return
    process = elsewhere.listen(f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"over unix")
    assert process.finish().out == b"over unix"


def test_every_stdio_there_is(elsewhere: Elsewhere, tmp_path: Path) -> None:
    """A socket, an appended file, /dev/null and a closed descriptor in the place of a pipe."""
    listener, place = elsewhere.bound()
    ours, theirs = socket.socketpair()
    log = tmp_path / "log"
    log.write_bytes(b"before ")
    with ours, theirs, log.open("ab") as stdout:
        process = elsewhere.pync("connect", place, stdin=theirs, stdout=stdout)
        theirs.close()
        peer = elsewhere.accept(listener)
        ours.sendall(b"from a socket")
        ours.shutdown(socket.SHUT_WR)
        assert read_all(peer) == b"from a socket"
        peer.sendall(b"after")
        peer.close()
        assert process.wait().code == 0
    assert log.read_bytes() == b"before after"
    with open(os.devnull, "r+b") as null:
        process = elsewhere.pync("connect", place, stdin=null, stdout=null)
        peer = elsewhere.accept(listener)
        peer.sendall(b"nobody reads")
        peer.close()
        assert process.wait().code == 0


def test_a_scan(elsewhere: Elsewhere, free_port: int) -> None:
    _, place = elsewhere.bound()
    port = place.partition(":")[2]
    result = elsewhere.run("scan", "127.0.0.1", "-p", f"{port},{free_port}", "--all")
    assert result.code == 0
    lines = sorted(line.split()[0:3] for line in result.out.decode().splitlines())
    assert [f"127.0.0.1:{port}", "tcp", "open"] in lines
    assert [f"127.0.0.1:{free_port}", "tcp", "closed"] in lines


def test_a_udp_scan(elsewhere: Elsewhere) -> None:
    answering, place = elsewhere.bound(socket.SOCK_DGRAM)
    refusing, other = elsewhere.bound(socket.SOCK_DGRAM)
    refusing.connect(("127.0.0.1", 9))  # then it is nobody's but that peer's
    open_port, closed_port = (word.partition(":")[2] for word in (place, other))
    words = ("scan", "127.0.0.1", "-u", "-p", f"{open_port},{closed_port}", "--all", "-w", "1s")
    process = elsewhere.pync(*words)
    data, address = answering.recvfrom(2000)
    answering.sendto(data or b"x", address)
    result = process.wait()
    said = result.out.decode()
    assert f"127.0.0.1:{open_port} udp open " in said, result.err
    # Without an error queue a socket that asks everybody never hears who refused.
    deaf = {"recverr", "messages", "darwin", "windows"} & set(elsewhere.what)
    assert f"127.0.0.1:{closed_port} udp {'open|filtered' if deaf else 'closed'} " in said, result.err


def test_waiting_for_a_port(elsewhere: Elsewhere) -> None:
    _, place = elsewhere.bound()
    assert elsewhere.run("scan", place, "--wait", "5s").code == 0


@pytest.mark.parametrize("words", [(), ("--raw",)])
def test_a_file_is_delivered(elsewhere: Elsewhere, tmp_path: Path, words: tuple[str, ...]) -> None:
    given, got = tmp_path / "given", tmp_path / "got"
    given.write_bytes(BULK)
    receiver = elsewhere.processes.listen(
        *words, "127.0.0.1", "0", "-o", str(got), command="recv", env=elsewhere.env
    )
    result = elsewhere.run("send", *words, f"127.0.0.1:{receiver.port}", str(given))
    assert result.code == 0, result.err
    assert receiver.wait().code == 0
    assert got.read_bytes() == BULK


def test_ctrl_c(elsewhere: Elsewhere) -> None:
    listener, place = elsewhere.bound()
    process = elsewhere.pync("connect", "-v", place)
    elsewhere.accept(listener)
    process.expect("connected")
    process.signal(signal.SIGINT)
    assert process.wait().code == elsewhere.died_of(signal.SIGINT)
