"""A child process as a channel: what we write is its stdin, what we read its stdout. Also the child that
gets a socket of its own, with no relay in between."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence

from pync.errors import LocalError, reason
from pync.loop import Flag, Loop
from pync.transport.channel import WANT_READ, WANT_WRITE, Channel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pync.portable.processes import Spawned
    from pync.portable.streams import Reader, Writer

# Signals that a shell's children expect at their default, whatever we (Python ignores SIGPIPE and SIGXFSZ) or
# our parent did to them.
_DEFAULTS = [
    getattr(signal, name)
    for name in ("SIGPIPE", "SIGXFSZ", "SIGCHLD", "SIGINT", "SIGQUIT")
    if hasattr(signal, name)
]
_WINDOWS = sys.platform == "win32"

if hasattr(os, "readv"):
    _readv = os.readv
else:
    from pync.portable.files import readv as _readv


def command_words(exec_command: str | None, sh_exec: str | None) -> list[str]:
    """The argv of `--exec` or `--sh-exec`; raises LocalError for a program that cannot be."""
    if sh_exec is not None:
        return shell_words(sh_exec)
    try:
        words = _split(exec_command or "")
    except ValueError as error:
        raise LocalError(f"--exec {exec_command!r}: {str(error).lower()}") from None
    if not words:
        raise LocalError("--exec: no program given")
    return words


def shell_words(command: str) -> list[str]:
    """The argv that has a shell run `command`."""
    if _WINDOWS:
        return [os.environ.get("COMSPEC", "cmd.exe"), "/d", "/s", "/c", command]
    return ["/bin/sh", "-c", command]


def _split(command: str) -> list[str]:
    from shlex import shlex, split

    if not _WINDOWS:
        return split(command)
    lexer = shlex(command, posix=True)
    lexer.whitespace_split = True
    lexer.commenters = lexer.escape = ""  # a backslash is part of a path there
    return list(lexer)


class Process:
    """A running child in a process group of its own. `status` is None until it was reaped."""

    def __init__(
        self, loop: Loop, words: Sequence[str], environment: dict[str, str], fds: dict[int, int]
    ) -> None:
        """Start `words` with `fds` (child's descriptor -> ours); raises LocalError."""
        self._spawned: Spawned | None = None
        try:
            self.pid = self._start(words, environment, fds)
        except (OSError, ValueError) as error:
            why = reason(error) if isinstance(error, OSError) else str(error)
            raise LocalError(f"cannot run {words[0]!r}: {why}") from None
        self.status: int | None = None
        self.ended: Flag = loop.flag()
        self._loop = loop
        self._pidfd = -1
        self._watch_end()

    def _start(self, words: Sequence[str], environment: dict[str, str], fds: dict[int, int]) -> int:
        if not hasattr(os, "posix_spawnp"):
            from pync.portable.processes import Spawned

            self._spawned = Spawned(words, environment, fds)
            return self._spawned.pid
        return os.posix_spawnp(
            words[0],
            list(words),
            environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, ours, theirs) for theirs, ours in fds.items()],
            setpgroup=0,
            setsigmask=(),
            setsigdef=_DEFAULTS,
        )

    def _watch_end(self) -> None:
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except (AttributeError, OSError):  # not Linux, or an old kernel
            self._look_again()
        else:
            self._loop.watch_read(self._pidfd, self._reap)

    def _look_again(self) -> None:
        if not self.reap():
            self._loop.call_later(0.02, self._look_again)

    def _reap(self) -> None:
        self.reap()

    def reap(self) -> bool:
        """True once the child is gone; `status` is then its exit status, negative for a signal."""
        if self.status is None:
            self.status = self._waited()
            if self.status is None:
                return False
            if self._pidfd >= 0:
                self._loop.forget(self._pidfd)
                os.close(self._pidfd)
                self._pidfd = -1
            self.ended.set()
        return True

    def _waited(self) -> int | None:
        if self._spawned is not None:
            return self._spawned.poll()
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return 0
        return os.waitstatus_to_exitcode(status) if pid else None

    def signal(self, signum: int) -> None:
        """Send `signum` to the child and what it started, as long as it is ours."""
        if self.status is None:
            try:
                os.killpg(self.pid, signum)
            except (ProcessLookupError, PermissionError):
                pass

    def left_others(self) -> bool:
        """Whether something that the child started goes on without it, perhaps with its descriptors."""
        try:
            os.killpg(self.pid, 0)
        except (ProcessLookupError, AttributeError):  # nobody, or a system that could not say who
            return False
        except PermissionError:
            pass
        return True

    async def stop(self, grace: float) -> None:
        """End it: SIGTERM, after `grace` seconds SIGKILL; comes back when it was reaped."""
        if self.reap():
            return
        if _WINDOWS:
            assert self._spawned is not None
            self._spawned.end()  # there is no asking for it
            await self.ended.wait()
            return
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        if not await self.ended.wait(self._loop.now() + grace):
            self.signal(signal.SIGKILL)
            await self.ended.wait(self._loop.now() + 5)


class Child(Channel):
    """A child between two pipes of ours. A child that stops reading costs nobody anything: what it does not
    take is thrown away, its output goes on."""

    plain = True
    may_stop_reading = True

    def __init__(
        self, loop: Loop, words: Sequence[str], environment: dict[str, str], *, mute: bool = False
    ) -> None:
        """`mute` throws its output away."""
        theirs_in, self.write_fd = os.pipe()
        if mute:
            self.read_fd, theirs_out = os.open(os.devnull, os.O_RDONLY), os.open(os.devnull, os.O_WRONLY)
        else:
            self.read_fd, theirs_out = os.pipe()
        try:
            self.process = Process(loop, words, environment, {0: theirs_in, 1: theirs_out})
        except BaseException:
            os.close(self.read_fd)
            os.close(self.write_fd)
            raise
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        self.peer = words[0]
        self._read: Callable[[int, Any], int] = _readv
        self._write: Callable[[int, Any], int] = os.write
        self._ready_fd, self._room_fd = self.read_fd, self.write_fd
        self._reader: Reader | None = None
        self._writer: Writer | None = None
        if _WINDOWS:
            self._wait_in_threads()
        else:
            os.set_blocking(self.read_fd, False)
            os.set_blocking(self.write_fd, False)

    def _wait_in_threads(self) -> None:
        """No poller of Windows takes a pipe."""
        from pync.portable.streams import Reader, Writer

        self._reader, self._writer = reader, writer = Reader(self.read_fd, owned=True), Writer(self.write_fd)
        self._read = lambda _fd, views: reader.recv_into(views[0])
        self._write = lambda _fd, view: writer.send(view)
        self._ready_fd, self._room_fd = reader.fileno(), writer.fileno()

    def read_into(self, view: memoryview) -> int | None:
        try:
            return self._read(self.read_fd, [view]) or None
        except BlockingIOError:
            return WANT_READ

    def write(self, view: memoryview) -> int:
        if self.write_fd < 0:
            return len(view)
        try:
            return self._write(self.write_fd, view)
        except BlockingIOError:
            return WANT_WRITE

    def send_eof(self) -> int:
        self._close_input()
        return 0

    def watch_read(self, loop: Loop, callback: Callable[[], None] | None) -> None:
        loop.watch_read(self._ready_fd, callback)

    def watch_write(self, loop: Loop, callback: Callable[[], None] | None) -> None:
        (loop.watch_write if self._writer is None else loop.watch_read)(self._room_fd, callback)

    def _close_input(self) -> None:
        fd, self.write_fd = self.write_fd, -1
        if fd >= 0:
            self.process._loop.forget(self._room_fd)
            self._room_fd = -1
            if self._writer is not None:
                self._writer.close(lambda: os.close(fd))
            else:
                os.close(fd)

    def detach(self, loop: Loop) -> None:
        for fd in (self._ready_fd, self._room_fd):
            if fd >= 0:
                loop.forget(fd)

    def close(self) -> None:
        self._close_input()
        fd, self.read_fd = self.read_fd, -1
        if fd >= 0:
            self.process._loop.forget(self._ready_fd)
            self._ready_fd = -1
            if self._reader is not None:
                self._reader.close()
            else:
                os.close(fd)


def environment_for(facts: dict[str, object], base: dict[str, str]) -> dict[str, str]:
    """`base` with the PYNC_* variables of a connection, and the same as NCAT_* for ncat's scripts."""
    values = {
        "REMOTE_ADDR": facts.get("path") or facts.get("address", ""),
        "REMOTE_PORT": "" if facts.get("path") else facts.get("port", ""),
        "LOCAL_ADDR": facts.get("local_address", facts.get("path", "")),
        "LOCAL_PORT": facts.get("local_port", ""),
        "PROTO": facts.get("proto", ""),
    }
    environment = dict(base)
    for name, value in values.items():
        environment[f"PYNC_{name}"] = str(value)
        proto = str(value).upper() if name == "PROTO" else str(value)
        environment[f"NCAT_{name}"] = proto
    return environment
