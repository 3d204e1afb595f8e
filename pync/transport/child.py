"""A child process as a channel: what we write is its stdin, what we read its stdout. Also the child that
gets a socket of its own, with no relay in between."""

import os
import signal
from collections.abc import Sequence

from pync.errors import LocalError, reason
from pync.loop import Flag, Loop
from pync.transport.channel import WANT_READ, WANT_WRITE, Channel

# Signals that a shell's children expect at their default, whatever we or our parent did to them.
_DEFAULTS = [signal.SIGPIPE, signal.SIGCHLD, signal.SIGINT, signal.SIGQUIT]


def command_words(exec_command: str | None, sh_exec: str | None) -> list[str]:
    """The argv of `--exec` or `--sh-exec`; raises LocalError for a program that cannot be."""
    if sh_exec is not None:
        return ["/bin/sh", "-c", sh_exec]
    import shlex

    try:
        words = shlex.split(exec_command or "")
    except ValueError as error:
        raise LocalError(f"--exec {exec_command!r}: {str(error).lower()}") from None
    if not words:
        raise LocalError("--exec: no program given")
    return words


class Process:
    """A running child in a process group of its own. `status` is None until it was reaped."""

    def __init__(
        self, loop: Loop, words: Sequence[str], environment: dict[str, str], fds: dict[int, int]
    ) -> None:
        """Start `words` with `fds` (child's descriptor -> ours); raises LocalError."""
        actions = [(os.POSIX_SPAWN_DUP2, ours, theirs) for theirs, ours in fds.items()]
        try:
            self.pid = os.posix_spawnp(
                words[0],
                list(words),
                environment,
                file_actions=actions,
                setpgroup=0,
                setsigmask=(),
                setsigdef=_DEFAULTS,
            )
        except (OSError, ValueError) as error:
            why = reason(error) if isinstance(error, OSError) else str(error)
            raise LocalError(f"cannot run {words[0]!r}: {why}") from None
        self.status: int | None = None
        self.ended: Flag = loop.flag()
        self._loop = loop
        self._pidfd = -1
        self._watch_end()

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
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                pid, status = self.pid, 0
            if pid == 0:
                return False
            self.status = os.waitstatus_to_exitcode(status)
            if self._pidfd >= 0:
                self._loop.forget(self._pidfd)
                os.close(self._pidfd)
                self._pidfd = -1
            self.ended.set()
        return True

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
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True

    async def stop(self, grace: float) -> None:
        """End it: SIGTERM, after `grace` seconds SIGKILL; comes back when it was reaped."""
        if self.reap():
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
        os.set_blocking(self.read_fd, False)
        os.set_blocking(self.write_fd, False)
        self.peer = words[0]

    def read_into(self, view: memoryview) -> int | None:
        try:
            return os.readv(self.read_fd, [view]) or None
        except BlockingIOError:
            return WANT_READ

    def write(self, view: memoryview) -> int:
        if self.write_fd < 0:
            return len(view)
        try:
            return os.write(self.write_fd, view)
        except BlockingIOError:
            return WANT_WRITE

    def send_eof(self) -> int:
        self._close_input()
        return 0

    def _close_input(self) -> None:
        fd, self.write_fd = self.write_fd, -1
        if fd >= 0:
            self.process._loop.forget(fd)
            os.close(fd)

    def detach(self, loop: Loop) -> None:
        for fd in (self.read_fd, self.write_fd):
            if fd >= 0:
                loop.forget(fd)

    def close(self) -> None:
        self._close_input()
        fd, self.read_fd = self.read_fd, -1
        if fd >= 0:
            self.process._loop.forget(fd)
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
