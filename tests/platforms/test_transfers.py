"""Whole connections on systems that lack something: TLS, several clients, folders, what is refused."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.harness import Processes, pattern
from tests.platforms.conftest import Elsewhere, read_all

BULK = pattern(4_000_000)
SYSTEMS = ("poll,splice", "messages", "vectors,dir-fd", "tcp-info,sendfile", "darwin", "windows")


@pytest.fixture(params=SYSTEMS)
def elsewhere(request: pytest.FixtureRequest, processes: Processes) -> Iterator[Elsewhere]:
    """Fewer systems than for the short tests."""
    with ExitStack() as stack:
        yield Elsewhere(str(request.param), processes, stack)


@pytest.fixture
def windows(processes: Processes) -> Iterator[Elsewhere]:
    """The system that lacks most."""
    with ExitStack() as stack:
        yield Elsewhere("windows", processes, stack)


@pytest.mark.parametrize("words", [(), ("--tls",)])
def test_two_of_them_pipe_to_each_other(elsewhere: Elsewhere, words: tuple[str, ...]) -> None:
    listener = elsewhere.listen(*words, "127.0.0.1", "0")
    insecure = ("--tls-insecure",) if words else ()
    client = elsewhere.pync("connect", *words, *insecure, f"127.0.0.1:{listener.port}")
    feeding = [
        threading.Thread(target=lambda p=process, data=data: (p.write(data), p.close_stdin()))
        for process, data in ((listener, BULK), (client, BULK[::-1]))
    ]
    for thread in feeding:
        thread.start()
    there, here = listener.wait(), client.wait()
    for thread in feeding:
        thread.join()
    assert (there.code, there.out == BULK[::-1]) == (0, True), there.err
    assert (here.code, here.out == BULK) == (0, True), here.err


def test_several_clients_share_stdout(elsewhere: Elsewhere) -> None:
    listener = elsewhere.listen("-k", "--count", "3", "127.0.0.1", "0")
    clients = [elsewhere.client(listener) for _ in range(3)]
    sending = []
    for number, client in enumerate(clients):
        data = bytes([65 + number]) * 1_000_000
        sending.append(threading.Thread(target=lambda c=client, d=data: (c.sendall(d), c.shutdown(1))))
        sending[-1].start()
    result = listener.finish(b"to all")
    for thread in sending:
        thread.join()
    assert result.code == 0, result.err
    assert [result.out.count(letter) for letter in (b"A", b"B", b"C")] == [1_000_000] * 3


def _tree(top: Path) -> dict[str, bytes]:
    found = {}
    for path in sorted(top.rglob("*")):
        name = path.relative_to(top).as_posix()
        found[name] = b"->" + os.fsencode(path.readlink()) if path.is_symlink() else b""
        if path.is_file() and not path.is_symlink():
            found[name] = path.read_bytes()
    return found


@pytest.mark.parametrize("words", [(), ("--secret=a-b-c",)])
def test_a_folder_is_delivered_twice(elsewhere: Elsewhere, tmp_path: Path, words: tuple[str, ...]) -> None:
    """The second time everything is there already; the third, one file has changed."""
    given, got = tmp_path / "given", tmp_path / "got"
    (given / "deep" / "er").mkdir(parents=True)
    (given / "empty").mkdir()
    (given / "large").write_bytes(BULK)
    (given / "deep" / "small").write_bytes(b"small")
    (given / "deep" / "er" / "none").write_bytes(b"")
    (given / "link").symlink_to("deep/small")
    os.utime(given / "deep" / "small", (1, 1_000_000_000))
    os.utime(given / "large", (1, 1_100_000_000))
    receiver = elsewhere.recv(*words, "-k", "--count", "3", "--overwrite", "127.0.0.1", "0", "-o", f"{got}/")
    for contents in (b"small", b"small", b"other"):
        (given / "deep" / "small").write_bytes(contents)
        os.utime(given / "deep" / "small", (1, 1_000_000_000))
        result = elsewhere.run("send", *words, f"127.0.0.1:{receiver.port}", str(given))
        assert result.code == 0, result.err
    assert receiver.wait().code == 0
    assert _tree(got / "given") == _tree(given)
    assert (got / "given" / "large").stat().st_mtime == 1_100_000_000
    assert (got / "given" / "deep" / "small").stat().st_mtime == 1_000_000_000


def test_an_interrupted_file_goes_on(elsewhere: Elsewhere, tmp_path: Path) -> None:
    given, got = tmp_path / "given", tmp_path / "got"
    given.write_bytes(BULK)
    (tmp_path / "got.part").write_bytes(BULK[:3_000_000])
    receiver = elsewhere.recv("127.0.0.1", "0", "-o", str(got))
    result = elsewhere.run("send", "--checksum", "sha256", f"127.0.0.1:{receiver.port}", str(given))
    assert result.code == 0, result.err
    assert receiver.wait().code == 0
    assert got.read_bytes() == BULK
    assert not (tmp_path / "got.part").exists()


def test_nothing_is_written_through_a_link(elsewhere: Elsewhere, tmp_path: Path) -> None:
    given, got, outside = tmp_path / "given", tmp_path / "got", tmp_path / "outside"
    given.mkdir()
    (given / "file").write_bytes(b"hostile")
    outside.mkdir()
    got.mkdir()
    (got / "given").symlink_to(outside)
    receiver = elsewhere.processes.listen(
        "127.0.0.1", "0", "-o", f"{got}/", command="recv", env=elsewhere.env
    )
    result = elsewhere.run("send", f"127.0.0.1:{receiver.port}", str(given))
    assert result.code in (2, 5)
    assert receiver.wait().code in (2, 5)
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("name", ["a:b", "con", "Nul.txt", "com1", "dot.", "space ", "back\\slash", "tab\t"])
def test_names_that_windows_takes_for_something_else(windows: Elsewhere, tmp_path: Path, name: str) -> None:
    given, got = tmp_path / "given", tmp_path / "got"
    given.mkdir()
    (given / name).write_bytes(b"hostile")
    (given / "good").write_bytes(b"good")
    receiver = windows.recv("127.0.0.1", "0", "-o", f"{got}/")
    result = windows.processes.run("send", f"127.0.0.1:{receiver.port}", str(given))
    assert result.code == 5
    assert "this system has no such names" in result.err
    assert receiver.wait().code == 5
    found = _tree(got)
    assert found["given/good"] == b"good"
    assert f"given/{name}" not in found


def test_a_reader_that_leaves(windows: Elsewhere) -> None:
    """A thread writes to stdout there: it tells as well."""
    listener, place = windows.bound()
    reader, writer = os.pipe()
    process = windows.pync("connect", place, stdout=writer)
    os.close(writer)
    peer = windows.accept(listener)
    os.close(reader)
    with pytest.raises(OSError, match=r"reset|[Bb]roken"):  # noqa: PT012
        while True:
            peer.sendall(BULK)
    assert process.wait().code == 141


def test_somebody_types(windows: Elsewhere) -> None:
    """The console is read by a thread, a line at a time, and its end is one."""
    listener, place = windows.bound()
    ours, theirs = os.openpty()
    process = windows.pync("connect", place, stdin=theirs)
    os.close(theirs)
    peer = windows.accept(listener)
    os.write(ours, b"a line\n")
    assert peer.recv(100) == b"a line\n"
    os.write(ours, b"\x04")
    assert read_all(peer) == b""
    peer.close()
    assert process.wait().code == 0
    os.close(ours)


def test_targets_from_stdin(windows: Elsewhere) -> None:
    _, place = windows.bound()
    result = windows.run("scan", "-", input=place.encode() + b"\n")
    assert result.code == 0, result.err
    assert b"open" in result.out


def test_a_command_after_waiting(windows: Elsewhere) -> None:
    _, place = windows.bound()
    assert windows.run("scan", place, "--wait", "5s", "--", "true").code == 0
    result = windows.run("scan", place, "--wait", "5s", "--", "false")
    assert (result.code, "false: exit status 1" in result.err) == (1, True)


def test_a_port_that_is_taken_is_not_shared(windows: Elsewhere) -> None:
    process = windows.listen("127.0.0.1", "0")
    result = windows.run("listen", "127.0.0.1", str(process.port))
    assert (result.code, "in use" in result.err) == (2, True)


def test_copies_of_a_session(windows: Elsewhere, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    process = windows.listen("-o", str(copy), "127.0.0.1", "0")
    client = windows.client(process)
    client.sendall(b"one\r\ntwo\n")
    client.shutdown(socket.SHUT_WR)
    assert process.finish().out == b"one\r\ntwo\n"
    assert copy.read_bytes() == b"one\r\ntwo\n"


def test_sockets_are_no_descriptors(windows: Elsewhere) -> None:
    for words in (("connect", "fd:3"), ("listen", "fd:3")):
        result = windows.run(*words)
        assert (result.code, "sockets are no descriptors" in result.err) == (2, True)


def test_abstract_names_are_refused_elsewhere(processes: Processes) -> None:
    with ExitStack() as stack:
        result = Elsewhere("darwin", processes, stack).run("connect", "unix:@name")
    assert result.code == 2
    assert "abstract Unix names (unix:@NAME) exist on Linux only" in result.err


def test_an_answer_to_a_unix_datagram(processes: Processes, tmp_path: Path) -> None:
    """Without abstract names the sender has a path, which is gone at its end."""
    with ExitStack() as stack, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
        darwin = Elsewhere("darwin", processes, stack)
        darwin.env["TMPDIR"] = str(tmp_path / "own")
        (tmp_path / "own").mkdir()
        peer.bind(str(tmp_path / "peer"))
        peer.settimeout(20)
        process = darwin.pync("connect", f"unix-dgram:{tmp_path / 'peer'}", "--quit-after", "200ms")
        process.write(b"question")
        data, address = peer.recvfrom(100)
        assert data == b"question"
        peer.sendto(b"answer", address)
        process.expect_bytes(6)
        assert process.finish().out == b"answer"
    assert list((tmp_path / "own").iterdir()) == []


def test_a_terminal_without_modes(windows: Elsewhere) -> None:
    _, place = windows.bound()
    ours, theirs = os.openpty()
    process = windows.pync("connect", "--raw-tty", place, stdin=theirs)
    os.close(theirs)
    result = process.wait()
    os.close(ours)
    assert (result.code, result.err) == (2, "pync: --raw-tty: this system has no modes of a terminal\n")
