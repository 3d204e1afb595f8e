"""Imported by Python at its start: takes away what PYNC_TEST_LACKS names, as other systems never had it.

Every process that finds this folder on its path becomes such a system. What a system lacks is missing from
the modules (no `select.epoll`), or refused with the errno that its kernel gives (no IPv6: EAFNOSUPPORT).
"""

import builtins
import errno
import os
import select
import signal
import socket
import sys

LACKS = set(os.environ.get("PYNC_TEST_LACKS", "").split(","))
_real_socket_init = socket.socket.__init__
_real_setsockopt = socket.socket.setsockopt
_real_sendmsg = socket.socket.sendmsg
_real_open = builtins.open
_real_listdir = os.listdir

# (level, option) that mean something on Linux only; another system may give the number any meaning.
_LINUX_OPTIONS = {
    (0, 8), (0, 10), (0, 11), (0, 24),  # IP_PKTINFO, IP_MTU_DISCOVER, IP_RECVERR, IP_BIND_ADDRESS_NO_PORT
    (41, 23), (41, 25), (41, 49),  # IPV6_MTU_DISCOVER, IPV6_RECVERR, IPV6_RECVPKTINFO
    (6, 3), (6, 9), (6, 11), (6, 12), (6, 18),  # TCP_CORK, DEFER_ACCEPT, INFO, QUICKACK, USER_TIMEOUT
    (17, 103), (17, 104),  # UDP_SEGMENT, UDP_GRO
    (1, 32), (1, 33),  # SO_SNDBUFFORCE, SO_RCVBUFFORCE
}  # fmt: skip
_LINUX_NAMES = (
    "IP_PKTINFO", "IP_RECVERR", "IP_BIND_ADDRESS_NO_PORT", "TCP_INFO", "TCP_QUICKACK", "TCP_CORK",
    "TCP_USER_TIMEOUT", "TCP_DEFER_ACCEPT", "SO_BINDTODEVICE", "SO_PEERCRED", "SO_DOMAIN", "SO_PROTOCOL",
    "SO_MARK", "SO_INCOMING_CPU", "SOCK_NONBLOCK", "SOCK_CLOEXEC",
)  # fmt: skip


def _remove(module: object, *names: str) -> None:
    for name in names:
        if hasattr(module, name):
            delattr(module, name)


def _refuse_options(refused: set[tuple[int, int]]) -> None:
    def setsockopt(self: socket.socket, level: int, option: int, *value: object) -> None:
        if (level, option) in refused:
            raise OSError(errno.ENOPROTOOPT, os.strerror(errno.ENOPROTOOPT))
        _real_setsockopt(self, level, option, *value)

    socket.socket.setsockopt = setsockopt


def _refuse_family(family: int) -> None:
    def init(self: socket.socket, family_: int = -1, type: int = -1, proto: int = -1, fileno=None) -> None:
        if family_ == family and fileno is None:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        _real_socket_init(self, family_, type, proto, fileno)

    socket.socket.__init__ = init


def _pair_over_loopback(family: object = None, type: int = socket.SOCK_STREAM, proto: int = 0) -> tuple:
    with socket.create_server(("127.0.0.1", 0)) as server:
        first = socket.create_connection(server.getsockname())
        return first, server.accept()[0]


def _lack_epoll() -> None:
    _remove(select, *[name for name in dir(select) if name.lower().startswith("epoll")])


def _lack_poll() -> None:
    """Only select is left."""
    _lack_epoll()
    _remove(select, *[name for name in dir(select) if name.startswith("POLL") or name in ("poll", "kqueue")])


class _Absent:
    """A method that instances do not have."""

    def __get__(self, instance: object, owner: object) -> object:
        raise AttributeError("no such method")


def _lack_messages() -> None:
    """No ancillary data, so no way to ask for it either."""
    _refuse_options({(0, 8), (41, 49), (17, 103), (17, 104)})
    for name in ("recvmsg", "recvmsg_into", "sendmsg"):
        setattr(socket.socket, name, _Absent())


def _lack_ipv6() -> None:
    socket.has_ipv6 = False
    _refuse_family(socket.AF_INET6)


def _lack_unix() -> None:
    _remove(socket, "AF_UNIX")
    socket.socketpair = _pair_over_loopback


def _lack_udp_offload() -> None:
    """An older kernel: the option is unknown, and so is the ancillary message."""
    _refuse_options({(17, 103), (17, 104)})

    def sendmsg(self, buffers, ancillary=(), *rest):
        if any(level == 17 for level, *_ in ancillary):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return _real_sendmsg(self, buffers, ancillary, *rest)

    socket.socket.sendmsg = sendmsg


def _lack_proc() -> None:
    def gone(path: object) -> None:
        if isinstance(path, str | bytes) and os.fsdecode(path).startswith(("/proc", "/sys")):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    def open(file, *args, **named):
        gone(file)
        return _real_open(file, *args, **named)

    def listdir(path="."):
        gone(path)
        return _real_listdir(path)

    builtins.open, os.listdir = open, listdir


def _lack_unix_modules() -> None:
    for name in ("fcntl", "termios", "resource", "tty", "pwd", "grp"):
        sys.modules[name] = None


def _lack_directory_descriptors() -> None:
    """Directories have no descriptors, and a file no mode, time or lock by its own."""

    def without(real: object) -> object:
        def call(*args: object, dir_fd: None = None, **named: object) -> object:
            if dir_fd is not None or "src_dir_fd" in named:
                raise NotImplementedError("dir_fd unavailable on this platform")
            return real(*args, **named)

        return call

    for name in ("open", "stat", "mkdir", "rename", "unlink", "symlink", "readlink", "utime", "access"):
        setattr(os, name, without(getattr(os, name)))
    os.supports_dir_fd = set()
    _remove(os, "O_NOFOLLOW", "O_DIRECTORY", "O_NONBLOCK", "O_CLOEXEC", "fchmod", "pread", "pwrite", "preadv")


def _be_windows() -> None:
    import lacking_windows

    lacking_windows.become()


def _be_darwin() -> None:
    """What a program finds on macOS, as far as a Linux kernel can play it."""
    sys.platform = "darwin"
    _lack_epoll()
    _lack_proc()
    _remove(os, "splice", "pidfd_open", "memfd_create", "sched_getaffinity", "RWF_NOWAIT", "copy_file_range")
    _remove(os, "posix_fallocate", "posix_fadvise")
    _remove(signal, "pidfd_send_signal")
    _remove(socket, *_LINUX_NAMES)
    _remove(select, "EPOLLRDHUP", "POLLRDHUP")
    real = os.sendfile

    def sendfile(out_fd: int, in_fd: int, offset: int, count: int, *_: object) -> int:
        if offset is None:
            raise TypeError("macOS has no sendfile() without an offset")
        return real(out_fd, in_fd, offset, count)

    os.sendfile = sendfile

    import fcntl
    import termios

    getsockopt = socket.socket.getsockopt

    def getsockopt_there(self: socket.socket, level: int, option: int, *size: int) -> object:
        if (level, option) == (socket.SOL_SOCKET, 0x1024):  # SO_NWRITE
            return int.from_bytes(fcntl.ioctl(self.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        return getsockopt(self, level, option, *size)

    bind = socket.socket.bind

    def bind_there(self: socket.socket, address: object) -> None:
        if self.family == socket.AF_UNIX and (not address or address[:1] in ("\0", b"\0")):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        bind(self, address)

    socket.socket.getsockopt, socket.socket.bind = getsockopt_there, bind_there

    def setsockopt(self: socket.socket, level: int, option: int, *value: object) -> None:
        assert (level, option) not in _LINUX_OPTIONS, f"setsockopt {level}, {option} means Linux"
        _real_setsockopt(self, level, option, *value)

    socket.socket.setsockopt = setsockopt


_TAKE = {
    "epoll": _lack_epoll,
    "splice": lambda: _remove(os, "splice"),
    "sendfile": lambda: _remove(os, "sendfile"),
    "poll": _lack_poll,
    "vectors": lambda: _remove(os, "readv", "writev", "preadv", "pwritev"),
    "messages": _lack_messages,
    "spawn": lambda: _remove(os, "posix_spawn", "posix_spawnp", "POSIX_SPAWN_DUP2"),
    "dir-fd": _lack_directory_descriptors,
    "windows": _be_windows,
    "ipv6": _lack_ipv6,
    "unix": _lack_unix,
    "pidfd": lambda: (_remove(os, "pidfd_open"), _remove(signal, "pidfd_send_signal")),
    "nowait": lambda: (_remove(socket, "MSG_DONTWAIT", "SOCK_NONBLOCK"), _remove(os, "RWF_NOWAIT")),
    "tcp-info": lambda: _remove(socket, "TCP_INFO"),
    "udp-offload": _lack_udp_offload,
    "pktinfo": lambda: _refuse_options({(0, 8), (41, 49)}),
    "recverr": lambda: _refuse_options({(0, 11), (41, 25)}),
    "proc": _lack_proc,
    "unix-modules": _lack_unix_modules,
    "darwin": _be_darwin,
}
for _name in LACKS - {""}:
    _TAKE[_name]()
