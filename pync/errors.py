"""What can go wrong, as exceptions that carry their exit status (CLI contract, "Exit status").

Core code raises these; the command line turns them into one line on stderr and a status; the Python API
lets them through. `translate` is the one border where an OSError becomes one of them.
"""

import errno
import os
import sys
from enum import IntEnum


class ExitCode(IntEnum):
    """The exit status of every command; 128+N (death by signal N) is not listed."""

    OK = 0
    NETWORK = 1
    USAGE = 2
    TIMEOUT = 3
    INTEGRITY = 4
    PARTIAL = 5
    BUG = 70


class PyncError(Exception):
    """A failure the user or the network caused: `message` is one line, `hint` an optional second one."""

    code = ExitCode.NETWORK

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class NetworkError(PyncError):
    """The network said no: refused, reset, unreachable, unknown name, peer gone early."""


class ConnectionRefused(NetworkError):
    """The place that was asked is there, and nobody listens."""


class UsageError(PyncError):
    """The words on the command line do not make sense."""

    code = ExitCode.USAGE


class LocalError(PyncError):
    """Something on this host failed: bind, a file, a program, a full disk."""

    code = ExitCode.USAGE


class LimitReached(LocalError):
    """No descriptor or thread is left, to us or to the system: what was asked may work a moment later."""


class TimedOut(PyncError):
    """A time-out the user set ran out."""

    code = ExitCode.TIMEOUT


class IntegrityError(PyncError):
    """Wrong bytes, wrong secret, a certificate that is not trusted, a truncated TLS stream."""

    code = ExitCode.INTEGRITY


class PartialError(PyncError):
    """Some of several targets, files or receivers failed."""

    code = ExitCode.PARTIAL


class Interrupted(BaseException):
    """Signal `signum` asked the process to end; `__main__` really dies of it after the clean-up.

    Not an Exception, so that no handler for ordinary failures swallows it.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


# errno -> our words. What is missing here uses the system's text, in lower case.
_WORDS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset by peer",
    errno.EPIPE: "the peer closed the connection",
    errno.ETIMEDOUT: "no answer (the system gave up)",
    errno.EHOSTUNREACH: "no route to host",
    errno.ENETUNREACH: "network is unreachable",
    errno.ENETDOWN: "network is down",
    errno.EADDRINUSE: "address already in use",
    errno.EADDRNOTAVAIL: "that address is not on this host",
    errno.EACCES: "permission denied",
    errno.EPERM: "not permitted",
    errno.ENOENT: "no such file",
    errno.EMSGSIZE: "message too long",
    errno.EMFILE: "descriptor limit reached",
    errno.ENFILE: "descriptor limit of the system reached",
    errno.ENOSPC: "no space left on device",
    errno.EISDIR: "is a directory",
    errno.EAFNOSUPPORT: "address family not supported by this host",
}

# These errnos are failures of this host, whichever call reported them.
_LOCAL = frozenset(
    {
        errno.EADDRINUSE,
        errno.EADDRNOTAVAIL,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EIO,
        errno.EISDIR,
        errno.ENOTDIR,
        errno.EROFS,
        errno.ENXIO,
        errno.ENODEV,
        errno.ENAMETOOLONG,
        errno.ELOOP,
        errno.ENOEXEC,
        errno.EBADF,
        errno.EMSGSIZE,
        errno.EOPNOTSUPP,
        errno.ENOPROTOOPT,
        errno.EINVAL,
    }
)


def reason(error: OSError) -> str:
    """The words for an OSError, without what was being done."""
    if error.errno in _WORDS:
        return _WORDS[error.errno]
    if error.errno is None:
        return str(error) or type(error).__name__
    # Windows has numbers of its own for what sockets say, and strerror knows nothing of them.
    text = (sys.platform == "win32" and error.strerror) or os.strerror(error.errno)
    return text[:1].lower() + text[1:]


def translate(error: OSError, doing: str, *, local: bool = False) -> PyncError:
    """One PyncError for `error`, its line "`doing`: reason".

    `local` says that any failure is this host's doing (a file, a bind), else the errno decides.
    """
    kind: type[PyncError] = LocalError if local or error.errno in _LOCAL else NetworkError
    if error.errno in (errno.EMFILE, errno.ENFILE):
        kind = LimitReached
    elif kind is NetworkError and error.errno == errno.ECONNREFUSED:
        kind = ConnectionRefused
    return kind(f"{doing}: {reason(error)}")
