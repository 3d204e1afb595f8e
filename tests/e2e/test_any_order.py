"""Whatever a peer does, in whatever order: stdout is what it sent, it gets what we read, no status lies.

Each example is a script of what the peer and our input do; it is played against a real process, and the
outcome is held against the law (CLI contract 3.2, 3.3), not against a list of expected outcomes.
"""

import contextlib
import random
import select
import socket
import subprocess
import time

import pytest

from tests.e2e.sessions import Sessions, reset
from tests.harness import PATIENCE, Process, Processes, pattern

ROUNDS = 12
SIZES = (1, 100, 4096, 70_000, 300_000)
STDINS = ("pipe", "file", "null")
OPTIONS = ((), (), ("-v",), ("--json",), ("-o", "{scratch}/copy"), ("--rate", "20M"), ("--peer-eof", "quit"))


class Play:
    """One session: a random script, and everything that was said and heard."""

    def __init__(self, seed: int, role: str, scratch: str) -> None:
        self.random = random.Random(seed)
        self.role = role
        self.stdin = self.random.choice(STDINS)
        self.options = [word.format(scratch=scratch) for word in self.random.choice(OPTIONS)]
        self.over = self.random.choice(("tcp", "tcp", "unix"))
        self.input = pattern(self.random.choice(SIZES), seed) if self.stdin != "null" else b""
        self.sent_by_peer = b""
        self.heard_by_peer = bytearray()
        self.peer_saw_end = False
        self.peer_was_reset = False
        self.peer_reset_us = False
        self.peer_closed_unread = False
        self.input_ended = self.stdin != "pipe"
        self.written = len(self.input) if self.stdin != "pipe" else 0
        self.ended = False

    def __repr__(self) -> str:
        words = (self.role, self.over, self.stdin, *self.options)
        return f"{' '.join(words)}, input {len(self.input)}, peer sent {len(self.sent_by_peer)}"

    def run(self, sessions: Sessions, scratch: str) -> None:
        stdin = {"pipe": subprocess.PIPE, "null": subprocess.DEVNULL}.get(self.stdin)
        with contextlib.ExitStack() as stack:
            if stdin is None:
                with open(f"{scratch}/input", "wb") as file:
                    file.write(self.input)
                stdin = stack.enter_context(open(f"{scratch}/input", "rb"))
            process, peer = sessions.open(self.role, *self.options, over=self.over, stdin=stdin)
            steps = [self.peer_sends, self.peer_reads, self.peer_reads, self.we_write, self.pause]
            for _ in range(self.random.randrange(1, 8)):
                self.random.choice(steps)(process, peer)
            last = [self.peer_resets, self.peer_closes, self.finish_well, self.finish_well]
            self.random.choice(last)(process, peer)
            done = process.wait()
        self.judge(done, process)

    # what may happen

    def peer_sends(self, process: Process, peer: socket.socket) -> None:
        data = pattern(self.random.choice(SIZES), len(self.sent_by_peer))
        peer.settimeout(0.5)
        view = memoryview(data)
        with contextlib.suppress(OSError):
            while view:
                count = peer.send(view)
                self.sent_by_peer += view[:count]
                view = view[count:]

    def peer_reads(self, process: Process, peer: socket.socket) -> None:
        ready, _, _ = select.select([peer], [], [], 0.05)
        if ready:
            self._hear(peer, self.random.choice(SIZES))

    def _hear(self, peer: socket.socket, count: int) -> bool:
        """False at the end."""
        try:
            data = peer.recv(count)
        except (ConnectionResetError, BrokenPipeError):
            self.peer_was_reset = True
            return False
        self.heard_by_peer += data
        self.peer_saw_end = self.peer_saw_end or not data
        return bool(data)

    def we_write(self, process: Process, peer: socket.socket) -> None:
        if self.stdin != "pipe" or self.input_ended:
            return
        # No more than a pipe holds, so that this never waits for a peer that does not read.
        some = self.input[self.written : self.written + self.random.choice((1, 1000, 30_000))]
        with contextlib.suppress(BrokenPipeError):
            process.write(some)
            self.written += len(some)

    def pause(self, process: Process, peer: socket.socket) -> None:
        process.ends(0.02)

    def _input_ends(self, process: Process) -> None:
        if self.stdin == "pipe":
            process.close_stdin()
        self.input_ended = True

    # how it may end

    def peer_resets(self, process: Process, peer: socket.socket) -> None:
        self.peer_reset_us = self.over == "tcp"
        self.peer_closed_unread = True
        reset(peer)
        self._input_ends(process)

    def peer_closes(self, process: Process, peer: socket.socket) -> None:
        self.peer_closed_unread = True
        peer.close()
        self._input_ends(process)

    def finish_well(self, process: Process, peer: socket.socket) -> None:
        """The peer ends its side, we ours, in either order, and the peer reads everything."""
        ends = [lambda: peer.shutdown(socket.SHUT_WR), lambda: self._input_ends(process)]
        self.random.shuffle(ends)
        peer.settimeout(PATIENCE)
        ends[0]()
        if self.random.random() < 0.5:
            self.peer_reads(process, peer)
        with contextlib.suppress(OSError):
            ends[1]()
        deadline = time.monotonic() + PATIENCE
        while not self.peer_saw_end and not self.peer_was_reset:
            assert time.monotonic() < deadline, f"{self}: the peer never saw an end"
            if not self._hear(peer, 1 << 17):
                break
        self.ended = True
        peer.close()

    # the law

    def judge(self, done: subprocess.CompletedProcess, process: Process) -> None:
        told = f"{self}\n{done.code} {done.err}"
        offered = self.input[: self.written]
        assert done.code in (0, 1), told
        assert "Traceback" not in done.err, told
        assert self.sent_by_peer.startswith(done.out), told
        assert offered.startswith(bytes(self.heard_by_peer)), told
        assert (done.code == 1) == ("pync: " in done.err or '"error"' in done.err), told
        if self.ended:
            assert done.code == 0, told
            assert done.out == self.sent_by_peer, told
            if "quit" not in self.options:
                assert self.heard_by_peer == offered, told
        if done.code == 0 and not self.peer_reset_us:
            assert done.out == self.sent_by_peer, told
        if self.peer_reset_us and not self.peer_saw_end and "quit" not in self.options:
            assert done.code == 1, told


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_any_order(
    processes: Processes, sessions: Sessions, role: str, mover: str, seed: int, tmp_path
) -> None:
    Play(seed * 2 + (role == "listen"), role, str(tmp_path)).run(sessions, str(tmp_path))
