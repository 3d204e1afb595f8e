"""TCP probes: connects that nobody waits for, and what becomes of them.

Three things make it fast. Answers are collected from one epoll set, itself a descriptor that the loop
watches. A machine answers itself, and its containers, before connect(2) returns: a second connect(2) tells
the result at once and nothing need be registered (a host that is not so quick is not asked so again). And on
Linux a refused socket is as good as new: it serves for the next port.
"""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Callable
from time import monotonic

from pync.loop import Loop
from pync.proto.ports import Ports
from pync.proto.schedule import Host, Probe, Scheduler
from pync.scanning.results import Results
from pync.scanning.sockets import (
    LATER,
    LINUX,
    REFUSED,
    Sockets,
    Verdict,
    family_of,
    queued_error,
    reachable_family,
    verdict,
)

_PENDING = frozenset({errno.EINPROGRESS, errno.EALREADY, errno.EWOULDBLOCK})
_CONNECTED = frozenset({0, errno.EISCONN})

# Called with an open connection and its round-trip time; owns the socket from then on.
Opened = Callable[[Host, int, socket.socket, float], None]


class EpollSet:
    """Pending sockets in an epoll set of our own; `fd` is readable when one has its answer."""

    def __init__(self, _loop: Loop) -> None:
        self._epoll = select.epoll()
        self.fd = self._epoll.fileno()
        self._pending: dict[int, Probe] = {}
        self._registered: set[int] = set()

    def add(self, fd: int, probe: Probe) -> None:
        """Watch until it is answered.

        Edge-triggered, so that a socket used again need not be registered again. A late edge of its last
        probe is then a false alarm, which the prober sees through.
        """
        if fd not in self._registered:
            self._epoll.register(fd, select.EPOLLOUT | select.EPOLLET)
            self._registered.add(fd)
        self._pending[fd] = probe

    def remove(self, fd: int) -> None:
        """Forget it, before it is closed or handed on."""
        self._pending.pop(fd, None)
        if fd in self._registered:
            self._registered.remove(fd)
            self._epoll.unregister(fd)

    def ready(self) -> list[Probe]:
        """Probes with an answer."""
        pending = self._pending
        return [pending.pop(fd) for fd, _ in self._epoll.poll(0, 4096) if fd in pending]

    def close(self) -> None:
        """Give the descriptor back."""
        self._epoll.close()


class LoopSet:
    """The portable fallback: each pending socket is watched by the loop; `fd` is a pipe that wakes it."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._answered: list[Probe] = []
        self._pair = socket.socketpair()
        for end in self._pair:
            end.setblocking(False)
        self.fd = self._pair[0].fileno()

    def add(self, fd: int, probe: Probe) -> None:
        """Watch until it is answered."""

        def answered() -> None:
            self._loop.forget(fd)
            self._answered.append(probe)
            try:
                self._pair[1].send(b"\0")
            except BlockingIOError:
                pass

        self._loop.watch_write(fd, answered)

    def remove(self, fd: int) -> None:
        """Forget it, before it is closed."""
        self._loop.forget(fd)

    def ready(self) -> list[Probe]:
        """Probes with an answer."""
        try:
            self._pair[0].recv(4096)
        except BlockingIOError:
            pass
        answered, self._answered = self._answered, []
        return answered

    def close(self) -> None:
        """Give the descriptors back."""
        for end in self._pair:
            end.close()


class TcpProber:
    """Sends TCP probes for a scheduler and tells it and `results` what came of them."""

    def __init__(
        self,
        loop: Loop,
        scheduler: Scheduler,
        results: Results,
        sockets: Sockets,
        opened: Opened,
        *,
        wake: Callable[[], None],
        starved: Callable[[], None],
    ) -> None:
        """`starved` is called when there is no descriptor for a probe and none of ours will come free."""
        self._loop = loop
        self._wake = wake
        self._starved = starved
        self._scheduler = scheduler
        self._results = results
        self._sockets = sockets
        self._opened = opened
        self._set: EpollSet | LoopSet = EpollSet(loop) if hasattr(select, "epoll") else LoopSet(loop)
        self._spare: dict[int, list[socket.socket]] = {}
        loop.watch_read(self._set.fd, self._collect)

    def send(self, host: Host, codes: Ports | list[int], tries: int) -> None:
        """Ask `codes`; all of them are accounted for with the scheduler."""
        family = family_of(host)
        address, tail = host.address.partition("%")[0], host.sockaddr or ()
        quick = host.local or host.quick > 0
        refused: list[int] = []
        spare = self._spare.setdefault(family, [])
        sock: socket.socket | None = None
        for index, code in enumerate(codes):
            started = monotonic()
            try:
                if sock is None:
                    sock = spare.pop() if spare else self._sockets.stream(family)
                target = (address, code, *tail)
                error = sock.connect_ex(target)
                if quick and error == errno.EINPROGRESS:
                    error = sock.connect_ex(target)
                    if error in _PENDING and not host.local:
                        host.quick -= 1
                        quick = host.quick > 0
            except OSError as failure:
                error = failure.errno or errno.EIO
            if error == errno.ECONNREFUSED:
                refused.append(code)
                if not LINUX and sock is not None:
                    self._discard(sock)
                    sock = None
                continue
            if sock is not None and error in _PENDING:
                probe = self._scheduler.sent(host, code, tries, started, sock)
                self._set.add(sock.fileno(), probe)
            elif sock is not None and error in _CONNECTED:
                self._connected(host, code, sock, monotonic() - started)
            else:
                if sock is not None:
                    self._discard(sock)
                    sock = None
                if error in LATER and not self._never(host, error):
                    dropped = self._drop_spare()
                    self._scheduler.later(host, list(codes[index:]), tries, started)
                    if error == errno.EMFILE and not dropped and not self._scheduler.in_flight:
                        self._starved()
                    break
                self._results.found(host, code, *self._explained(host, error))
                self._scheduler.instant(host, 1)
            sock = None
        if refused:
            self._results.refused(host, refused)
            self._scheduler.instant(host, len(refused))
        if sock is not None:
            spare.append(sock)

    @staticmethod
    def _never(host: Host, error: int) -> bool:
        """EADDRNOTAVAIL is also what a machine without any IPv6 address says; that does not pass."""
        return error == errno.EADDRNOTAVAIL and not reachable_family(host.address)

    @staticmethod
    def _explained(host: Host, error: int) -> Verdict:
        return ("filtered", "net unreachable") if error == errno.EADDRNOTAVAIL else verdict(error)

    def _connected(self, host: Host, code: int, sock: socket.socket, rtt: float) -> None:
        """An answered connect, accounted for as instant."""
        if self._met_itself(sock):
            self._discard(sock)
            self._results.found(host, code, *REFUSED)
        else:
            self._set.remove(sock.fileno())
            self._opened(host, code, sock, rtt)
        self._scheduler.instant(host, 1)

    @staticmethod
    def _met_itself(sock: socket.socket) -> bool:
        """A SYN to the port this very socket has (RFC 793 simultaneous open): then nobody listens there."""
        try:
            return bool(sock.getsockname()[:2] == sock.getpeername()[:2])
        except OSError:
            return False

    def _collect(self) -> None:
        """Take in what was answered."""
        ready = self._set.ready()
        if not ready:
            return
        self._wake()
        now = monotonic()
        for probe in ready:
            if not probe.done:
                self._answered(probe, now)

    def _answered(self, probe: Probe, now: float) -> None:
        sock = probe.handle
        assert isinstance(sock, socket.socket)
        host, code = probe.host, probe.code
        error = self._outcome(sock, host, code)
        if error in _PENDING:  # a false alarm
            self._set.add(sock.fileno(), probe)
            return
        if error in _CONNECTED and not self._met_itself(sock):
            self._set.remove(sock.fileno())
            self._opened(host, code, sock, now - probe.sent_at)
        elif error in _CONNECTED:
            self._discard(sock)
            self._results.found(host, code, *REFUSED)
        elif error == errno.ECONNREFUSED and LINUX:
            self._spare.setdefault(family_of(host), []).append(sock)
            self._results.found(host, code, "closed", "refused", rtt=now - probe.sent_at)
        else:
            state, why = self._reason(sock, error)
            self._discard(sock)
            if error == errno.ETIMEDOUT:  # the system gave up before our own time was up: silence
                host.given_up.append(code | probe.tries << 32)
            else:
                rtt = now - probe.sent_at if state != "filtered" else None
                self._results.found(host, code, state, why, rtt=rtt)
        self._scheduler.answered(probe, now, measured=error in (0, errno.ECONNREFUSED))

    @staticmethod
    def _outcome(sock: socket.socket, host: Host, code: int) -> int:
        """0 or the errno of a connect that ended. On Linux connect(2) tells, and makes the socket as new."""
        if not LINUX:
            return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return sock.connect_ex((host.address.partition("%")[0], code, *(host.sockaddr or ())))

    def _discard(self, sock: socket.socket) -> None:
        self._set.remove(sock.fileno())
        sock.close()

    def _drop_spare(self) -> bool:
        """Whether there were any."""
        dropped = any(self._spare.values())
        for socks in self._spare.values():
            while socks:
                self._discard(socks.pop())
        return dropped

    def _reason(self, sock: socket.socket, error: int) -> Verdict:
        if error != errno.ECONNREFUSED and self._results.show_all and LINUX:
            last = None
            while (queued := queued_error(sock)) is not None:
                last = queued  # earlier ones are of earlier probes of this socket
            if last is not None:
                return last[0]
        return verdict(error)

    def give_up(self, probe: Probe) -> None:
        """The time of a probe is up."""
        sock = probe.handle
        assert isinstance(sock, socket.socket)
        self._discard(sock)

    def close(self) -> None:
        """Give back the spare sockets and the poller."""
        self._drop_spare()
        self._loop.forget(self._set.fd)
        self._set.close()
