"""`--allow`, `--deny` and their files (CLI contract 5)."""

import signal
import socket

import pytest

from tests.e2e.sessions import MOMENT, closed_at_once, echoes, one_line, read_exactly


@pytest.mark.parametrize(
    "options",
    [
        ("--deny", "127.0.0.0/8"),
        ("--deny", "10.0.0.1,127.0.0.1"),
        ("--deny", "127.0-3.0.1-20"),
        ("--deny", "*"),
        ("--deny", "localhost"),
        ("--allow", "10.0.0.0/8"),
        ("--allow", "127.0.0.1", "--deny", "127.0.0.1"),
    ],
    ids=" ".join,
)
def test_denied_clients_are_closed_at_once_and_do_not_count(sessions, options):
    process = sessions.processes.listen(*options, "127.0.0.1", "0")  # one-shot
    for _ in range(2):
        assert closed_at_once(sessions.client(process))
    assert not process.ends(MOMENT)
    assert process.out == b""


def test_allowed_clients_are_served(sessions):
    options = ("--allow", "10.0.0.1", "--allow", "127.0.0.0/8", "--deny", "127.0.0.9")
    process, peer = sessions.listen(*options)
    peer.sendall(b"welcome")
    peer.close()
    assert process.finish()[:2] == (0, b"welcome")


def test_access_files(sessions, tmp_path):
    allow, deny = tmp_path / "allow", tmp_path / "deny"
    allow.write_text("# friends\n\n127.0.0.0/8, 10.0.0.1 # all of them\n")
    deny.write_text("127.0.0.5\n")
    process = sessions.processes.listen(
        "-k", "--echo", "--allow-file", allow, "--deny-file", deny, "127.0.0.1", "0"
    )
    client = sessions.client(process)
    client.sendall(b"x")
    assert read_exactly(client, 1) == b"x"
    denied = sessions.keep(socket.create_connection(("127.0.0.1", process.port), 20, ("127.0.0.5", 0)))
    assert closed_at_once(denied)


def test_sighup_reads_the_access_files_again(sessions, tmp_path):
    deny = tmp_path / "deny"
    deny.write_text("127.0.0.1\n")
    process = sessions.processes.listen("-k", "--echo", "--deny-file", deny, "127.0.0.1", "0")
    assert closed_at_once(sessions.client(process))
    deny.write_text("# nobody\n")
    process.signal(signal.SIGHUP)
    process.until(lambda: echoes(sessions, process), "the new rules")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--allow", "10.0.0.0/33"), "10.0.0.0/33"),
        (("--deny", "1.2.3"), "1.2.3"),
        (("--allow-file", "/no/x"), "/no/x"),
    ],
)
def test_bad_access_rules_are_2(processes, options, word):
    done = processes.run("listen", *options, "127.0.0.1", "0")
    assert done.code == 2
    assert word in one_line(done.err)
