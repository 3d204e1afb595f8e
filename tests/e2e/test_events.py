"""Words and events on stderr (CLI contract 3.4, 3.6)."""

import json
import signal
import socket
import time

import pytest

from tests.e2e.sessions import read_to_end, reset
from tests.harness import free_port

KINDS = {
    *("listening", "connecting", "connected", "secured", "eof", "closed"),
    *("progress", "file", "port", "waiting", "error", "summary"),
}


def events(stderr):
    """The events of a run; fails for a line that is none."""
    found = [json.loads(line) for line in stderr.splitlines()]
    for event in found:
        assert event["event"] in KINDS, event
        assert abs(event["time"] - time.time()) < 600, event
    return found


def of_kind(stderr, kind):
    return [event for event in events(stderr) if event["event"] == kind]


def test_events_of_a_session(sessions, role):
    process, peer = sessions.open(role, "--json")
    peer.sendall(b"12345")
    peer.shutdown(socket.SHUT_WR)
    process.write(b"123")
    process.close_stdin()
    assert read_to_end(peer) == b"123"
    done = process.wait()
    assert (done.code, done.out) == (0, b"12345")
    (connected,) = of_kind(done.err, "connected")
    assert connected["address"] == "127.0.0.1"
    assert connected["port"] == peer.getsockname()[1]
    (closed,) = of_kind(done.err, "closed")
    assert (closed["sent"], closed["received"]) == (3, 5)
    assert closed["seconds"] >= 0
    assert isinstance(closed["reason"], str)
    assert of_kind(done.err, "eof")


def test_listening_event_has_the_port(sessions):
    process, peer = sessions.listen("--json")
    peer.close()
    (listening,) = of_kind(process.finish().err, "listening")
    assert (listening["address"], listening["port"]) == ("127.0.0.1", process.port)


def test_error_event_has_code_and_message(processes):
    port = free_port()
    done = processes.run("connect", "--json", f"127.0.0.1:{port}")
    assert done.code == 1
    (error,) = of_kind(done.err, "error")
    assert error["code"] == 1
    assert error["message"] == f"connect 127.0.0.1:{port}: connection refused"


def test_usage_error_with_json_is_an_event_or_a_line(processes):
    done = processes.run("connect", "--json", "127.0.0.1:99999")
    assert done.code == 2
    assert "99999" in done.err


def test_reset_is_an_error_event_and_a_reason(sessions, role):
    process, peer = sessions.open(role, "--json")
    peer.sendall(b"abc")
    process.expect_out("abc")
    reset(peer)
    done = process.wait()
    assert done.code == 1
    (closed,) = of_kind(done.err, "closed")
    assert closed["received"] == 3
    assert "reset" in closed["reason"]
    (error,) = of_kind(done.err, "error")
    assert error["code"] == 1


def test_each_client_has_its_events(sessions):
    process = sessions.processes.listen("--json", "--count", "2", "127.0.0.1", "0")
    for word in (b"a", b"bb"):
        with sessions.client(process) as client:
            client.sendall(word)
        process.expect_out(word.decode())
    done = process.wait()
    assert sorted(event["received"] for event in of_kind(done.err, "closed")) == [1, 2]
    assert len(of_kind(done.err, "connected")) == 2


def test_waiting_event_while_retrying(processes):
    done = processes.run(
        *("connect", "--json", "--retry", "1", "--retry-delay", "10ms"), f"127.0.0.1:{free_port()}"
    )
    assert done.code == 1
    assert of_kind(done.err, "waiting")


def test_events_of_a_stopped_keeper_are_whole_lines(sessions):
    process = sessions.processes.listen("--json", "-k", "--grace", "50ms", "127.0.0.1", "0")
    client = sessions.client(process)
    client.sendall(b"x")
    process.expect_out("x")
    process.signal(signal.SIGTERM)
    told = events(process.wait().err)
    assert told
    progress = [event["received"] for event in told if event["event"] == "progress"]
    assert progress == sorted(progress)


def test_verbose_says_who_and_how_much(sessions, role):
    process, peer = sessions.open(role, "-v")
    peer.sendall(b"12345")
    peer.close()
    err = process.finish().err
    assert "127.0.0.1" in err
    assert "5" in err.splitlines()[-1]


@pytest.mark.parametrize("options", [("-q",), ("--quiet",)])
def test_quiet_says_nothing_but_errors(sessions, role, options):
    process, peer = sessions.open(role, *options)
    peer.sendall(b"x")
    peer.close()
    assert process.finish() == (0, b"x", "")


def test_quiet_still_says_errors(processes):
    done = processes.run("connect", "-q", f"127.0.0.1:{free_port()}")
    assert done.code == 1
    assert "refused" in done.err


def test_peer_names_on_stderr_are_safe(sessions, tmp_path):
    """A Unix peer may be called what it likes."""
    process = sessions.listen_at(f"unix:{tmp_path}/s", "-k", "-v", "--echo")
    client = sessions.keep(socket.socket(socket.AF_UNIX))
    client.bind(f"{tmp_path}/\x1b[31mred")
    client.connect(f"{tmp_path}/s")
    client.close()
    process.expect("red")
    assert "\x1b" not in process.err


def test_the_events_of_a_unix_socket_name_its_path_instead_of_an_address(sessions, role):
    process, peer = sessions.open(role, "--json", over="unix")
    peer.close()
    done = process.finish()
    kinds = {"listening" if role == "listen" else "connecting", "connected", "closed"}
    told = [event for event in events(done.err) if event["event"] in kinds]
    assert {event["event"] for event in told} == kinds
    for event in told:
        assert event["path"].endswith("sock")
        assert (event["address"], event["port"]) == (None, None)


def test_a_unix_datagram_listener_says_that_it_is_one(sessions, tmp_path):
    process = sessions.listen_at(f"unix-dgram:{tmp_path}/s", "--json")
    process.expect("listening")
    assert of_kind(process.err, "listening")[0]["proto"] == "unix-dgram"
