"""`scan --wait`: until it holds, in time, quietly, and as the command afterwards."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pync.commands import scan
from pync.commands.options import ScanOptions
from pync.errors import ExitCode, TimedOut, UsageError
from pync.loop import Loop
from pync.report import Event
from tests.harness import PYNC, Finished, Host, Processes


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def wait(*targets: str, when: Any = None, **options: Any) -> tuple[ExitCode, list[Event]]:
    """Runs a wait; `when` is called with each event."""
    events: list[Event] = []

    def report(event: Event) -> None:
        events.append(event)
        if when is not None:
            when(event)

    options.setdefault("wait", 10.0)
    options.setdefault("interval", 0.05)
    with Loop() as loop:
        code = loop.run(scan.run(loop, ScanOptions(targets=targets, **options), report))
    return code, events


def bound(stack: ExitStack) -> socket.socket:
    sock = stack.enter_context(socket.socket())
    sock.bind(("127.0.0.1", 0))
    return sock


def later(seconds: float, action: Any) -> None:
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()


def test_ends_within_two_intervals_of_the_opening(stack: ExitStack) -> None:
    sock = bound(stack)
    opened: list[float] = []

    def open_it() -> None:
        sock.listen()
        opened.append(time.monotonic())

    later(0.5, open_it)
    code, events = wait(f"127.0.0.1:{sock.getsockname()[1]}", interval=0.2)
    assert code == ExitCode.OK
    assert 0 <= time.monotonic() - opened[0] < 2 * 0.2 * 1.2 + 0.2
    (port,) = [event.facts for event in events if event.kind == "port"]
    assert (port["state"], port["reason"]) == ("open", "syn-ack")


def test_all_are_waited_for_unless_any_is_enough(stack: ExitStack) -> None:
    ready, never = bound(stack), bound(stack)
    ready.listen()
    words = [f"127.0.0.1:{sock.getsockname()[1]}" for sock in (ready, never)]
    assert wait(*words, require="any")[0] == ExitCode.OK
    with pytest.raises(TimedOut) as caught:
        wait(*words, wait=0.3)
    assert words[1] in caught.value.message
    assert words[0] not in caught.value.message
    assert "refused" in caught.value.message
    assert caught.value.code == ExitCode.TIMEOUT


def test_until_closed(stack: ExitStack) -> None:
    sock = bound(stack)
    sock.listen()
    word = f"127.0.0.1:{sock.getsockname()[1]}"
    begin = time.monotonic()
    later(0.3, sock.close)
    code, _ = wait(word, until="closed")
    assert code == ExitCode.OK
    assert time.monotonic() - begin >= 0.3


def test_a_name_that_does_not_resolve_is_tried_again_and_is_not_closed() -> None:
    for until in ("open", "closed"):
        with pytest.raises(TimedOut, match=r"nobody\.invalid:80.*name"):
            wait("nobody.invalid:80", wait=0.4, until=until)


def test_what_cannot_be_reached_is_not_closed(processes: Processes, hosts: tuple[Host, Host]) -> None:
    here, there = hosts

    def wait_until_closed(*words: str) -> Finished:
        words = (*PYNC, "scan", "--wait", "500ms", "--until", "closed", *words)
        return processes.spawn(*words, host=here).wait()

    assert wait_until_closed(f"{there.ipv4}:9").code == 0
    done = wait_until_closed("192.0.2.1:9", "udp://192.0.2.1:9")
    assert done.code == 3
    assert done.err.count("(network is unreachable)") == 2
    there.run("ip", "link", "set", there.device, "down")
    assert wait_until_closed(f"{there.ipv4}:9").code == 3  # silence, or no route


def test_unix_sockets(tmp_path: Path, stack: ExitStack) -> None:
    path = tmp_path / "s"
    sock = stack.enter_context(socket.socket(socket.AF_UNIX))

    def open_it() -> None:
        sock.bind(str(path))
        sock.listen()

    later(0.2, open_it)
    code, events = wait(f"unix:{path}")
    assert code == ExitCode.OK
    (port,) = [event.facts for event in events if event.kind == "port"]
    assert (port["address"], port["port"]) == (str(path), None)
    for where in (f"unix:{tmp_path}/none", f"unix-dgram:{tmp_path}/none"):
        with pytest.raises(TimedOut, match="no such socket"):
            wait(where, wait=0.2)
        assert wait(where, until="closed")[0] == ExitCode.OK


def test_udp_needs_an_answer(stack: ExitStack) -> None:
    sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.bind(("127.0.0.1", 0))
    word = f"udp://127.0.0.1:{sock.getsockname()[1]}"
    with pytest.raises(TimedOut, match="no answer"):
        wait(word, wait=0.3)

    def answer() -> None:
        while True:
            try:
                data, peer = sock.recvfrom(2048)
                sock.sendto(data, peer)
            except OSError:
                return

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    assert wait(word)[0] == ExitCode.OK


@pytest.mark.parametrize(("said", "good"), [(b"220 ready\r\n", True), (b"421 busy\r\n", False), (b"", False)])
def test_expected_first_bytes(stack: ExitStack, said: bytes, good: bool) -> None:
    sock = bound(stack)
    sock.listen()

    def serve() -> None:
        while True:
            try:
                client, _ = sock.accept()
            except OSError:
                return
            with client:
                for byte in said:  # in as many pieces as can be
                    client.send(bytes((byte,)))

    threading.Thread(target=serve, daemon=True).start()
    word = f"127.0.0.1:{sock.getsockname()[1]}"
    if good:
        assert wait(word, expect="^220 .*\n")[0] == ExitCode.OK
    else:
        with pytest.raises(TimedOut, match="but said"):
            wait(word, expect="^220 .*\n", wait=0.4)
    # accept() in the thread is woken by a last connection, so that the socket can go
    sock.shutdown(socket.SHUT_RDWR)


def test_words_come_a_few_seconds_apart_not_a_flood(stack: ExitStack) -> None:
    sock = bound(stack)
    events: list[Event] = []
    with pytest.raises(TimedOut):
        wait(f"127.0.0.1:{sock.getsockname()[1]}", wait=1.6, interval=0.02, when=events.append)
    words = [event.facts for event in events if event.kind == "waiting"]
    assert len(words) == 1
    assert words[0]["missing"]
    assert words[0]["reason"] == "connection refused"
    assert events[-1].kind == "summary"
    assert events[-1].facts["ready"] == 0


@pytest.mark.parametrize(
    ("targets", "options"),
    [
        (("127.0.0.1",), {}),
        ((), {}),
        (("127.0.0.1:80",), {"expect": "("}),
        (("10.0.0.0/8",), {"ports": "80"}),
        (("10.0.0.0/99:1",), {}),
    ],
)
def test_usage_errors(targets: tuple[str, ...], options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        wait(*targets, wait=0.1, **options)


def test_closed_at_once_counts_when_asked_with_ports_apart(stack: ExitStack) -> None:
    sock = bound(stack)
    assert wait("127.0.0.1", ports=str(sock.getsockname()[1]), until="closed")[0] == ExitCode.OK


# --- as a program ------------------------------------------------------------------------------------


def test_becomes_the_command(processes: Processes, stack: ExitStack) -> None:
    sock = bound(stack)
    sock.listen()
    word = f"127.0.0.1:{sock.getsockname()[1]}"
    probe = (
        "import os, signal, sys, resource; print(os.getpid(), int(open('/proc/self/status').read()"
        ".split('SigIgn:')[1].split()[0], 16), len(os.listdir('/proc/self/fd'))); sys.exit(37)"
    )
    done = processes.spawn(*PYNC, "scan", word, "--wait", "5s", "--", sys.executable, "-c", probe)
    result = done.wait()
    assert result.code == 37
    pid, ignored, descriptors = map(int, result.out.split())
    assert pid == done.pid, "the command is another process: signals would not reach it"
    by_python = {signal.SIGPIPE, signal.SIGXFSZ}
    inherited = int(Path("/proc/self/status").read_text().split("SigIgn:")[1].split()[0], 16)
    assert ignored & ~inherited & ~sum(1 << number - 1 for number in by_python) == 0
    assert descriptors <= 4


def test_with_a_command_stdout_is_the_commands(processes: Processes, stack: ExitStack) -> None:
    sock = bound(stack)
    sock.listen()
    word = f"127.0.0.1:{sock.getsockname()[1]}"
    done = processes.spawn(*PYNC, "scan", "--json", word, "--wait", "5s", "--", "sh", "-c", "exit 37").wait()
    assert done[:2] == (37, b"")


def test_a_command_that_is_not_there_is_said(processes: Processes, stack: ExitStack) -> None:
    sock = bound(stack)
    sock.listen()
    word = f"127.0.0.1:{sock.getsockname()[1]}"
    result = processes.spawn(*PYNC, "scan", word, "--wait", "5s", "--", "/no/such/program").wait()
    assert result.code == 2
    assert "/no/such/program" in result.err
    assert result.out == b""


def test_time_out_is_3_and_names_what_is_missing(processes: Processes, stack: ExitStack) -> None:
    sock = bound(stack)
    word = f"127.0.0.1:{sock.getsockname()[1]}"
    result = processes.spawn(*PYNC, "scan", word, "--wait", "300ms").wait()
    assert result.code == 3
    assert word in result.err
    assert "refused" in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize("options", [("--wait", "5s"), ("--wait", "5s", "--json")], ids=" ".join)
def test_a_result_that_cannot_be_written_is_no_success(
    processes: Processes, stack: ExitStack, options: tuple[str, ...]
) -> None:
    sock = bound(stack)
    sock.listen()
    argv = (*PYNC, "scan", f"127.0.0.1:{sock.getsockname()[1]}", *options)
    with open("/dev/full", "wb") as full:
        result = processes.spawn(*argv, stdout=full).wait()
    assert result.code == 2
    assert "standard output: no space left on device" in result.err
    assert result.err.count("\n") == 1
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as broken:
        result = processes.spawn(*argv, stdout=broken).wait()
    assert (result.code, result.err) == (-signal.SIGPIPE, "")


def test_json_lines_of_a_wait(processes: Processes, stack: ExitStack) -> None:
    sock = bound(stack)
    sock.listen()
    port = sock.getsockname()[1]
    result = processes.spawn(*PYNC, "scan", "127.0.0.1", str(port), "--wait", "5s", "--json").wait()
    assert result.code == 0
    events = [json.loads(line) for line in result.out.decode().splitlines()]
    assert [event["port"] for event in events if event["event"] == "port"] == [port]


def test_sigterm_ends_a_wait(processes: Processes, stack: ExitStack) -> None:
    sock = bound(stack)
    word = f"127.0.0.1:{sock.getsockname()[1]}"
    process = processes.spawn(*PYNC, "scan", word, "--wait", "60s")
    process.expect("waiting for")
    process.signal(signal.SIGTERM)
    assert process.wait().code == -signal.SIGTERM


@pytest.mark.parametrize("end", ["deadline", "Ctrl-C"])
def test_a_wait_that_is_cut_short_has_a_summary(processes: Processes, stack: ExitStack, end: str) -> None:
    ready, never = bound(stack), bound(stack)
    ready.listen()
    words = [f"127.0.0.1:{sock.getsockname()[1]}" for sock in (ready, never)]
    limit = ("--deadline", "2s") if end == "deadline" else ()
    process = processes.spawn(*PYNC, "scan", *words, "--wait", "60s", "--json", *limit)
    process.expect_out('"port"')
    if end == "Ctrl-C":
        process.signal(signal.SIGINT)
    done = process.wait()
    assert done.code == (3 if end == "deadline" else -signal.SIGINT)
    last = json.loads(done.out.splitlines()[-1])
    assert (last["event"], last["ready"], last["total"], last["missing"]) == ("summary", 1, 2, words[1:])


def test_endpoints_from_stdin(processes: Processes, stack: ExitStack) -> None:
    sock = bound(stack)
    sock.listen()
    process = processes.spawn(*PYNC, "scan", "-", "--wait", "5s", "--grepable")
    result = process.finish(f"127.0.0.1 {sock.getsockname()[1]}\n".encode())
    assert (result.code, result.out.decode().strip()) == (0, f"127.0.0.1:{sock.getsockname()[1]}")


def test_ctrl_c_while_the_endpoints_are_still_read(processes: Processes, tmp_path: Path) -> None:
    process = processes.spawn(*PYNC, "scan", "-", "--wait", "60s", "-vv")
    process.until(lambda: "poll" in _where(process.pid), "it reads its stdin")
    process.signal(signal.SIGINT)
    assert process.wait().code == -signal.SIGINT


def _where(pid: int) -> str:
    """The system call a process sleeps in, as the kernel names it."""
    try:
        return Path(f"/proc/{pid}/wchan").read_text()
    except OSError:
        return ""


def test_a_try_cut_short_by_the_end_does_not_hide_what_was_known(stack: ExitStack) -> None:
    """The first try is told "busy", the second one gets no word in time."""
    sock = bound(stack)
    sock.listen()

    def serve() -> None:
        with sock.accept()[0] as client:
            client.sendall(b"421 busy\n")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with pytest.raises(TimedOut, match="but said '421 busy'"):
        wait(f"127.0.0.1:{sock.getsockname()[1]}", expect="^220", wait=0.5)
    thread.join(5)
