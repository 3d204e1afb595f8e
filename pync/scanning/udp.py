"""UDP probes: one socket for each family asks everybody; its error queue says who refused.

An answer of any try counts, however late: the socket stays open to the end of the scan.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from time import monotonic

from pync.loop import Loop
from pync.proto import probes
from pync.proto.ports import Ports, number_of
from pync.proto.schedule import Host, Probe, Scheduler
from pync.scanning.results import Results
from pync.scanning.sockets import LATER, Sockets, Verdict, family_of, queued_error, verdict

_LARGEST = 65_535
_BANNER = 512  # bytes of an answer kept with `--banner`
_QUEUED = frozenset({errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EPROTO})
_TFTP, _TFTP_ANSWERS = 69, (b"\0\x03", b"\0\x05")

Place = tuple[str, int]


class UdpProber:
    """Sends UDP probes for a scheduler and tells it and `results` what came of them."""

    def __init__(
        self,
        loop: Loop,
        scheduler: Scheduler,
        results: Results,
        sockets: Sockets,
        *,
        banner: bool,
        wake: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._wake = wake
        self._scheduler = scheduler
        self._results = results
        self._make = sockets
        self._banner = banner
        self._sockets: dict[int, socket.socket] = {}
        # Every port asked and not yet decided: its latest probe.
        self._asked: dict[Place, Probe] = {}
        # Ports answered between two tries: the scheduler will bring them once more.
        self._answered_early: set[Place] = set()

    def send(self, host: Host, codes: Ports | list[int], tries: int) -> None:
        """Ask `codes`; all of them are accounted for with the scheduler."""
        address, tail = host.address.partition("%")[0], host.sockaddr or ()
        sock = self._socket(family_of(host))
        for index, code in enumerate(codes):
            place = address, number_of(code)
            if place in self._answered_early:
                self._answered_early.discard(place)
                self._scheduler.instant(host, 1)
                continue
            now = monotonic()
            error = self._send_one(sock, probes.payload(place[1]), (*place, *tail))
            if error in LATER:
                self._scheduler.later(host, list(codes[index:]), tries, now)
                return
            if error:
                self._results.found(host, code, *verdict(error))
                self._scheduler.instant(host, 1)
                continue
            self._asked[place] = self._scheduler.sent(host, code, tries, now, self)
            if host.local:
                self._read_error(sock)  # it is there already, and keeps the queue short

    def _socket(self, family: int) -> socket.socket:
        sock = self._sockets.get(family)
        if sock is None:
            sock = self._sockets[family] = self._make.datagram(family)
            self._loop.watch_read(sock.fileno(), self._collect)
        return sock

    def _send_one(self, sock: socket.socket, data: bytes, target: tuple[str | int, ...]) -> int:
        """0 or the errno of this very datagram: those of earlier ones surface here too, and are set aside."""
        for _ in range(64):
            try:
                sock.sendto(data, target)
                return 0
            except OSError as error:
                number = error.errno or errno.EIO
                if number not in _QUEUED or not self._read_errors(sock):
                    return number
        return errno.EAGAIN

    def _collect(self) -> None:
        """Take in what arrived."""
        self._wake()
        for sock in self._sockets.values():
            self._read_errors(sock)
            self._read_answers(sock)

    def _read_error(self, sock: socket.socket) -> bool:
        entry = queued_error(sock)
        if entry is None:
            return False
        found, place = entry
        self._decide(place, found, measured=found[0] == "closed")
        return True

    def _read_errors(self, sock: socket.socket) -> int:
        number = 0
        while self._read_error(sock):
            number += 1
        return number

    def _read_answers(self, sock: socket.socket) -> None:
        for _ in range(4096):
            try:
                data, sender = sock.recvfrom(_LARGEST)
            except BlockingIOError:
                return
            except OSError:
                if not self._read_errors(sock):
                    return
                continue
            place = sender[0].partition("%")[0], sender[1]
            if place not in self._asked and data[:2] in _TFTP_ANSWERS:
                place = place[0], _TFTP  # RFC 1350: the server answers from a port of its own choosing
            self._decide(place, ("open", "reply"), data=data)

    def _decide(self, place: Place, found: Verdict, *, data: bytes = b"", measured: bool = True) -> None:
        probe = self._asked.pop(place, None)
        if probe is None:
            return
        now = monotonic()
        if found[0] == "closed":
            probe.host.refusals += 1
        rtt = now - probe.sent_at if measured and not probe.tries else None
        banner: dict[str, object] | None = None
        if data and self._banner:
            from pync.proto.banner import datagram

            banner = datagram(place[1], data[:_BANNER])
        self._results.found(probe.host, probe.code, *found, rtt=rtt, banner=banner)
        if probe.done:  # between two tries; when the scheduler brings it again, it is known
            self._answered_early.add(place)
        else:
            self._scheduler.answered(probe, now, measured=rtt is not None)

    def silent(self, host: Host, code: int) -> bool:
        """The scheduler gave a port up; False when it was answered after all."""
        place = host.address.partition("%")[0], number_of(code)
        if place in self._answered_early:
            self._answered_early.discard(place)
            return False
        self._asked.pop(place, None)
        return True

    def close(self) -> None:
        """Give the sockets back."""
        for sock in self._sockets.values():
            self._loop.forget(sock.fileno())
            sock.close()
        self._sockets.clear()
