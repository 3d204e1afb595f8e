"""The harness itself: other tests are only as good as its waits and its cleaning up."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

import pytest

from tests import harness


def python(code):
    return sys.executable, "-c", code


def test_a_line_is_awaited_and_the_output_collected(processes):
    process = processes.spawn(
        *python("import sys; print('ready', file=sys.stderr); print(sys.stdin.read()[::-1])")
    )
    process.expect("^ready$")
    assert process.finish(b"abc") == (0, b"cba\n", "ready\n")


def test_a_wait_for_a_line_ends_with_the_process(processes):
    process = processes.spawn(*python("import sys; sys.exit('no')"))
    with pytest.raises(AssertionError, match=r"(?s)exit 1.*'no"):
        process.expect("never")


def test_a_wait_for_the_end_says_what_is_still_running(processes):
    process = processes.spawn(*python("input()"))
    with pytest.raises(AssertionError, match="still running"):
        process.wait(within=0.05)


def test_what_still_runs_is_killed_with_its_children(tmp_path):
    with harness.Processes(tmp_path) as processes:
        process = processes.spawn("sh", "-c", "cat & echo ready; cat >/dev/null")
        process.expect_out("ready")
        child = os.pidfd_open(process.until(process.children, "a child")[0])
    assert process.popen.returncode == -signal.SIGKILL
    assert select.select([child], [], [], harness.PATIENCE)[0]  # readable: that process has ended
    os.close(child)


@pytest.mark.parametrize(("kind", "number"), [("tcp", 1), ("udp", 2)])
def test_the_port_of_a_silent_program_is_found(processes, kind, number):
    code = f"import socket; s = socket.socket(2, {number}); s.bind(('127.0.0.1', 0))\n"
    code += "if s.type == 1: s.listen()\nprint(s.getsockname()[1], flush=True); input()"
    process = processes.spawn(*python(code))
    port = process.bound(kind)
    assert process.expect_out(r"^(\d+)\n").group(1) == b"%d" % port


def test_two_hosts_reach_each_other_and_nobody_else(hosts, processes):
    left, right = hosts
    serve = (
        f"import socket; s = socket.create_server(('{right.ipv4}', 0)); c = s.accept()[0]; c.sendall(b'here')"
    )
    server = processes.spawn(*python(serve), host=right, stderr=subprocess.STDOUT)
    address = (right.ipv4, server.bound())
    client = processes.spawn(
        *python(f"import socket; print(socket.create_connection({address}).recv(9))"), host=left
    )
    assert client.finish().out == b"b'here'\n"
    assert "wire" not in os.listdir("/sys/class/net")


def test_pattern_is_repeatable():
    assert harness.pattern(1000) == harness.pattern(1000) != harness.pattern(1000, seed=2)
