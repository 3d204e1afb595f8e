"""What a program finds on Windows, as far as a Linux kernel can play it.

Names that Windows does not have are gone; calls that behave in another way there do so here: select takes
sockets only, a directory cannot be opened, a file that is open cannot be renamed, `rename` replaces nothing,
`os.kill` kills. What cannot be played: handles that are no descriptors, the console, the file system's names.
"""

import builtins
import errno
import os
import select
import signal
import socket
import stat
import sys
import types

_NOT_A_SOCKET, _NOTHING_TO_DO = 10038, 10022  # WSAENOTSOCK, WSAEINVAL
_SET_MAX = 512

_GONE_OS = (
    "splice", "sendfile", "pidfd_open", "memfd_create", "sched_getaffinity", "RWF_NOWAIT", "copy_file_range",
    "posix_fallocate", "posix_fadvise", "readv", "writev", "preadv", "pwritev", "pread", "pwrite", "fork",
    "forkpty", "posix_spawn", "posix_spawnp", "POSIX_SPAWN_DUP2", "set_blocking", "get_blocking", "fchmod",
    "fchown", "fchdir", "chown", "lchown", "O_NOFOLLOW", "O_DIRECTORY", "O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY",
    "O_SYNC", "getuid", "geteuid", "getgid", "getegid", "killpg", "setsid", "setpgid", "getpgrp", "getpgid",
    "getsid", "tcgetpgrp", "tcsetpgrp", "wait", "waitid", "WNOHANG", "mkfifo", "mknod", "sysconf",
    "SEEK_HOLE", "SEEK_DATA", "ttyname", "uname", "getloadavg", "sync", "fdatasync",
)  # fmt: skip
_GONE_SOCKET = (
    "AF_UNIX", "MSG_DONTWAIT", "SOCK_NONBLOCK", "SOCK_CLOEXEC", "IP_PKTINFO", "IP_RECVERR", "TCP_INFO",
    "IP_BIND_ADDRESS_NO_PORT", "TCP_QUICKACK", "TCP_CORK", "TCP_USER_TIMEOUT", "TCP_DEFER_ACCEPT",
    "SO_DOMAIN", "SO_BINDTODEVICE", "SO_PEERCRED", "SO_PROTOCOL", "SO_MARK", "SO_INCOMING_CPU",
    "SO_REUSEPORT", "EAI_ADDRFAMILY", "CMSG_LEN", "CMSG_SPACE", "send_fds", "recv_fds",
)  # fmt: skip
_GONE_SIGNALS = (
    "SIGHUP", "SIGPIPE", "SIGCHLD", "SIGTSTP", "SIGCONT", "SIGSTOP", "SIGKILL", "SIGQUIT", "SIGWINCH",
    "SIGUSR1", "SIGUSR2", "SIGTTIN", "SIGTTOU", "SIGXFSZ", "SIGALRM", "pthread_sigmask", "pidfd_send_signal",
    "setitimer", "alarm", "sigwait",
)  # fmt: skip


class _Absent:
    """A method that instances do not have."""

    def __get__(self, instance: object, owner: object) -> object:
        raise AttributeError("Windows has no such method")


def become() -> None:
    """From now on this process is such a system."""
    import _ssl
    import shutil
    import subprocess  # as it is here, before the names that it stands on are gone
    import tempfile  # noqa: F401
    import threading  # noqa: F401

    which = shutil.which

    def posix_which(*words, **named):
        sys.platform = "linux"  # programs have no .EXE here
        try:
            return which(*words, **named)
        finally:
            sys.platform = "win32"

    shutil.which = posix_which
    _ssl.enum_certificates = _ssl.enum_crls = lambda store: []
    sys.platform = "win32"
    _modules()
    _sockets()
    _selecting()
    _files()
    _processes(subprocess)
    for name in dir(select):
        if "epoll" in name.lower() or "POLL" in name or name in ("poll", "PIPE_BUF"):
            delattr(select, name)
    for module, names in ((os, _GONE_OS), (socket, _GONE_SOCKET), (signal, _GONE_SIGNALS)):
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    os.supports_dir_fd = os.supports_follow_symlinks = set()


def _modules() -> None:
    import fcntl

    msvcrt = types.ModuleType("msvcrt")
    msvcrt.LK_NBLCK = 2

    def locking(fd: int, mode: int, count: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PermissionError(errno.EACCES, "locked") from None

    msvcrt.locking = locking
    sys.modules["msvcrt"] = msvcrt
    for name in ("fcntl", "termios", "resource", "tty", "pwd", "grp"):
        sys.modules[name] = None


def _sockets() -> None:
    for name in ("recvmsg", "recvmsg_into", "sendmsg"):
        setattr(socket.socket, name, _Absent())
    real = socket.socket.setsockopt
    unknown = {
        *((0, 8), (0, 10), (0, 11), (0, 24), (0, 25), (41, 23), (41, 25), (41, 49), (41, 125)),
        *((6, 3), (6, 9), (6, 11), (6, 12), (6, 18), (17, 103), (17, 104), (1, 15), (1, 32), (1, 33)),
    }

    def setsockopt(self: socket.socket, level: int, option: int, *value: object) -> None:
        assert (level, option) not in unknown, f"setsockopt {level}, {option} means something else there"
        assert (level, option) != (socket.SOL_SOCKET, socket.SO_REUSEADDR), "lets strangers take the port"
        if (level, option) != (socket.SOL_SOCKET, -5):
            real(self, level, option, *value)
        else:
            real(self, level, socket.SO_REUSEADDR, 1)  # what Linux needs for the same effect

    socket.socket.setsockopt = setsockopt
    socket.SO_EXCLUSIVEADDRUSE = -5

    def socketpair(family: object = None, type: int = socket.SOCK_STREAM, proto: int = 0) -> tuple:
        with socket.create_server(("127.0.0.1", 0)) as server:
            first = socket.create_connection(server.getsockname())
            return first, server.accept()[0]

    def create_server(address: object) -> socket.socket:
        server = socket.socket()
        server.bind(address)
        server.listen()
        return server

    socket.create_server = create_server
    socket.socketpair = socketpair


def _selecting() -> None:
    real = select.select
    tcp_info = socket.TCP_INFO

    def failed(fd: int) -> bool:
        """Whether a connect came to nothing: that is told in the third set only."""
        sock = socket.socket(fileno=fd)
        try:
            return sock.getsockopt(socket.IPPROTO_TCP, tcp_info, 1)[0] == 7  # TCP_CLOSE
        except OSError:
            return False
        finally:
            sock.detach()

    def select_(reading, writing, excepting, timeout=None):
        sets = [
            [fd if isinstance(fd, int) else fd.fileno() for fd in fds]
            for fds in (reading, writing, excepting)
        ]
        if not any(sets):
            raise OSError(_NOTHING_TO_DO, "an invalid argument was supplied")
        for fds in sets:
            if len(fds) > _SET_MAX:
                raise ValueError("too many file descriptors in select()")
            for fd in fds:
                if not stat.S_ISSOCK(real_fstat(fd).st_mode):
                    raise OSError(
                        _NOT_A_SOCKET, "an operation was attempted on something that is not a socket"
                    )
        ready, room, _ = real(reading, writing, [], timeout)
        broken = [fd for fd in room if failed(fd if isinstance(fd, int) else fd.fileno())]
        return ready, [fd for fd in room if fd not in broken], [fd for fd in broken if fd in excepting]

    real_fstat = os.fstat
    select.select = select_


class _Status:
    """A stat result without what Windows does not tell."""

    def __init__(self, real: os.stat_result) -> None:
        self._real = real

    def __getattr__(self, name: str) -> object:
        if name in ("st_blocks", "st_blksize", "st_rdev"):
            raise AttributeError(name)
        return getattr(self._real, name)

    def __getitem__(self, index: int) -> object:
        return self._real[index]


def _files() -> None:
    os.O_BINARY, os.O_NOINHERIT = 0o100000, 0o2000000
    real = {name: getattr(os, name) for name in (
        "open", "stat", "lstat", "mkdir", "rename", "replace", "unlink", "rmdir", "symlink", "readlink",
        "utime", "access", "chmod", "scandir", "listdir", "fsync", "fstat", "pread",
    )}  # fmt: skip
    real_open = builtins.open

    def lacks_descriptors(name: str):
        def call(path, *args, dir_fd=None, follow_symlinks=True, **named):
            if dir_fd is not None:
                raise NotImplementedError("dir_fd unavailable on this platform")
            assert not isinstance(path, int), f"os.{name} of a descriptor"
            if follow_symlinks is not True:
                if name != "stat":
                    raise NotImplementedError("follow_symlinks unavailable on this platform")
                named["follow_symlinks"] = False
            return real[name](path, *args, **named)

        return call

    for name in real.keys() - {"fsync", "fstat", "pread", "replace", "rename"}:
        setattr(os, name, lacks_descriptors(name))

    def gone(path: object) -> None:
        if isinstance(path, str | bytes) and os.fsdecode(path).startswith(("/proc", "/sys")):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    def open_(path, flags, mode=0o777, *, dir_fd=None):
        if dir_fd is not None:
            raise NotImplementedError("dir_fd unavailable on this platform")
        gone(path)
        if sys._getframe(1).f_globals.get("__name__", "").startswith("pync") and path != os.devnull:
            assert flags & os.O_BINARY, f"{path!r} is opened as text"
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "permission denied", path)
        return real["open"](path, flags, mode)

    def builtin_open(file, *args, **named):
        gone(file)
        return real_open(file, *args, **named)

    def is_open(path: str | bytes) -> bool:
        try:
            there = real["stat"](path, follow_symlinks=False)
        except OSError:
            return False
        mine = [f"/proc/self/fd/{name}" for name in real["listdir"]("/proc/self/fd")]
        for link in mine:
            try:
                other = real["stat"](link)
            except OSError:
                continue
            if stat.S_ISREG(other.st_mode) and (other.st_ino, other.st_dev) == (there.st_ino, there.st_dev):
                return True
        return False

    def moving(name: str):
        def call(source, target, **named):
            assert not named, "dir_fd unavailable on this platform"
            if is_open(source) or is_open(target):
                raise PermissionError(errno.EACCES, "it is open", source)
            if name == "rename" and os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, "it exists", target)
            return real[name](source, target)

        return call

    def unlink(path, *, dir_fd=None):
        assert dir_fd is None, "dir_fd unavailable on this platform"
        if is_open(path):
            raise PermissionError(errno.EACCES, "it is open", path)
        real["unlink"](path)

    def chmod(path, mode, **named):
        assert not named, "only the mode of a path"
        real["chmod"](path, 0o644 if mode & 0o200 else 0o444)

    os.open, os.unlink, os.remove, os.chmod, builtins.open = open_, unlink, unlink, chmod, builtin_open
    os.rename, os.replace = moving("rename"), moving("replace")
    os.fstat = lambda fd: _Status(real["fstat"](fd))


def _processes(subprocess: types.ModuleType) -> None:
    kill = os.kill

    def refuse(pid: int, signum: int) -> None:
        raise AssertionError("os.kill ends a process at once there, whatever the signal")

    start = subprocess.Popen.__init__

    def init(self, *words, creationflags=0, **named):
        assert creationflags in (0, 0x200)  # CREATE_NEW_PROCESS_GROUP
        start(self, *words, process_group=0 if creationflags else None, **named)

    subprocess.Popen.__init__ = init
    os.kill = refuse
    subprocess.Popen.terminate = subprocess.Popen.kill = lambda self: kill(self.pid, 9)
