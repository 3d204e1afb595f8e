"""Datagrams with the other netcats: the first one arrives, answers find their way back."""

from __future__ import annotations

import subprocess

import pytest

from tests.harness import free_port, unix_sockets

PEERS = ("nc.openbsd", "nc.traditional", "ncat", "socat")


def listening(processes, name):
    """(the peer bound to a UDP port, its port)."""
    if name == "nc.traditional":  # it wants to be told a port
        import socket

        port = free_port(socket.SOCK_DGRAM)
        peer = processes.spawn(name, "-u", "-l", "-s", "127.0.0.1", "-p", str(port))
    elif name == "socat":
        peer = processes.spawn("socat", "UDP-LISTEN:0,bind=127.0.0.1", "-")
    else:
        peer = processes.spawn(name, "-u", "-l", "127.0.0.1", "0")
    return peer, peer.bound("udp")


def connecting(processes, name, port):
    if name == "socat":
        return processes.spawn("socat", f"UDP:127.0.0.1:{port}", "-")
    return processes.spawn(name, "-u", "127.0.0.1", str(port))


@pytest.mark.parametrize("name", PEERS)
def test_we_ask_and_the_peer_answers(processes, need, name):
    need(name)
    peer, port = listening(processes, name)
    pync = processes.pync("connect", "-u", "--quit-after", "0.3", "127.0.0.1", str(port))
    pync.write(b"question\n")
    assert peer.expect_bytes(9) == b"question\n"
    peer.write(b"answer\n")
    assert pync.expect_bytes(7) == b"answer\n"
    assert pync.finish().code == 0


@pytest.mark.parametrize("name", PEERS)
def test_the_peer_asks_and_we_answer(processes, need, name):
    need(name)
    pync = processes.listen("-u", "--quit-after", "0.3", "127.0.0.1:0")
    peer = connecting(processes, name, pync.port)
    peer.write(b"question\n")
    assert pync.expect_bytes(9) == b"question\n"
    pync.write(b"answer\n")
    assert peer.expect_bytes(7) == b"answer\n"
    assert pync.finish().code == 0


@pytest.mark.parametrize("name", ["nc.openbsd", "socat"])
def test_unix_datagrams_to_the_peer(processes, need, tmp_path, name):
    need(name)
    path = tmp_path / "socket"
    words = (
        ["nc.openbsd", "-l", "-u", "-U", path]
        if name == "nc.openbsd"
        else ["socat", f"UNIX-RECV:{path}", "-"]
    )
    peer = processes.spawn(*words, stdin=subprocess.DEVNULL if name == "socat" else subprocess.PIPE)
    peer.bound_path(path)
    pync = processes.run("connect", "--quit-after", "0.1", f"unix-dgram:{path}", input=b"one\n")
    assert pync.code == 0, pync
    assert peer.expect_bytes(4) == b"one\n"


@pytest.mark.parametrize("name", ["nc.openbsd", "socat"])
def test_unix_datagrams_from_the_peer(processes, need, tmp_path, name):
    need(name)
    path = tmp_path / "socket"
    pync = processes.listen("--max-packets", "1", f"unix-dgram:{path}")
    assert str(path) in unix_sockets()
    words = (
        ["nc.openbsd", "-u", "-U", path]
        if name == "nc.openbsd"
        else ["socat", "-u", "-", f"UNIX-SENDTO:{path}"]
    )
    processes.spawn(*words).write(b"one\n")
    assert pync.wait()[:2] == (0, b"one\n")
