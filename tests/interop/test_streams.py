"""Byte streams with the other netcats: both roles, both directions, every byte and both exit statuses."""

from __future__ import annotations

import subprocess

import pytest

from tests.harness import find_peer, pattern
from tests.interop.peers import CASES, LOOPBACK, PEERS, half_closes, peer_connects, peer_listens

DATA = pattern((1 << 20) + 7)
ANSWER = pattern(300_001, seed=2)
NOTHING = subprocess.DEVNULL
UNIX_CASES = [
    ("listen", "nc.openbsd"),
    ("listen", "ncat"),
    ("listen", "socat"),
    ("connect", "socat"),
]

every_peer = pytest.mark.parametrize(("we", "name", "family"), CASES)
half_closing_peer = pytest.mark.parametrize(
    ("we", "name", "family"), [case for case in CASES if half_closes(*case[:2])]
)


@pytest.fixture(autouse=True)
def _available(request, need):
    parameters = request.node.callspec.params
    need(PEERS[parameters["name"]].program)
    if parameters.get("family") == "tcp6":
        request.getfixturevalue("ipv6")


def join(processes, we, name, family, *options, ours=subprocess.PIPE, theirs=subprocess.PIPE):
    """(pync, the peer), connected or about to be."""
    host = LOOPBACK[family]
    sending = PEERS[name].sending if theirs == subprocess.PIPE else ()
    if we == "listen":
        mine = processes.listen(*options, host, "0", stdin=ours)
        return mine, peer_connects(processes, name, family, mine.port, *sending, stdin=theirs)
    peer = peer_listens(processes, name, family, *sending, stdin=theirs)
    return processes.pync("connect", *options, host, str(peer.port), stdin=ours), peer


@every_peer
def test_the_peer_gets_all_we_send(processes, we, name, family):
    pync, peer = join(processes, we, name, family, theirs=NOTHING)
    pync.write(DATA)
    pync.close_stdin()
    assert pync.wait().code == 0, pync.describe()
    assert peer.wait()[:2] == (0, DATA)


@every_peer
def test_we_get_all_the_peer_sends(processes, we, name, family):
    options = () if half_closes(we, name) else ("--recv-only",)
    pync, peer = join(processes, we, name, family, *options, ours=NOTHING)
    peer.write(DATA)
    peer.close_stdin()
    assert pync.wait()[:2] == (0, DATA)
    assert peer.wait().code == 0, peer.describe()


@half_closing_peer
def test_both_send_at_once(processes, we, name, family):
    pync, peer = join(processes, we, name, family)
    pync.write(DATA)
    peer.write(ANSWER)
    pync.close_stdin()
    peer.close_stdin()
    assert pync.wait()[:2] == (0, ANSWER)
    assert peer.wait()[:2] == (0, DATA)


@half_closing_peer
def test_the_peer_answers_after_our_end(processes, we, name, family):
    pync, peer = join(processes, we, name, family)
    pync.write(DATA)
    pync.close_stdin()
    peer.expect_bytes(len(DATA))
    peer.write(ANSWER)
    peer.close_stdin()
    assert pync.wait()[:2] == (0, ANSWER)
    assert peer.wait()[:2] == (0, DATA)


@half_closing_peer
def test_we_answer_after_the_peers_end(processes, we, name, family):
    pync, peer = join(processes, we, name, family)
    peer.write(DATA)
    peer.close_stdin()
    pync.expect_bytes(len(DATA))
    pync.write(ANSWER)
    pync.close_stdin()
    assert peer.wait()[:2] == (0, ANSWER)
    assert pync.wait()[:2] == (0, DATA)


def unix_words(name, role, path):
    if name == "socat":
        return ["socat", "-t", "30", f"UNIX-{'LISTEN' if role == 'listen' else 'CONNECT'}:{path}", "-"]
    close = ["-N"] if name == "nc.openbsd" else []
    return [find_peer(name), *close, "-U", *(["-l"] if role == "listen" else []), str(path)]


@pytest.mark.parametrize(("we", "name"), UNIX_CASES)
def test_unix_sockets_carry_both_directions(processes, tmp_path, we, name):
    path = tmp_path / "socket"
    if we == "listen":
        pync = processes.listen(f"unix:{path}")
        peer = processes.spawn(*unix_words(name, "connect", path))
    else:
        peer = processes.spawn(*unix_words(name, "listen", path))
        peer.bound_path(path)
        pync = processes.pync("connect", "-U", path)
    pync.write(DATA)
    pync.close_stdin()
    peer.expect_bytes(len(DATA))
    peer.write(ANSWER)
    peer.close_stdin()
    assert pync.wait()[:2] == (0, ANSWER)
    assert peer.wait()[:2] == (0, DATA)


@pytest.mark.parametrize("name", ["nc.openbsd", "ncat", "socat"])
def test_a_unix_listener_gets_all_we_send(processes, tmp_path, name):
    path = tmp_path / "socket"
    peer = processes.spawn(*unix_words(name, "listen", path), stdin=NOTHING)
    peer.bound_path(path)
    pync = processes.run("connect", "-U", path, input=DATA)
    assert pync.code == 0, pync
    assert peer.wait()[:2] == (0, DATA)
