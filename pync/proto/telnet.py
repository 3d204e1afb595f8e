"""Telnet (RFC 854) for a client that wants none of its options: `--telnet`.

Every option a peer offers or asks for is declined, and everything that is negotiation stays off stdout.
Declining cannot loop: DO is answered with WONT and WILL with DONT, and DONT and WONT, which confirm the state
we are in already, are never answered (RFC 1143).

Received bytes go through two stages. The first takes out what starts with IAC; the second, on what is left,
turns CR NUL into CR. Each remembers only where it is, so the cut between two reads may fall anywhere.
"""

SE, SB, WILL, WONT, DO, DONT, IAC = 240, 250, 251, 252, 253, 254, 255
_ANSWERS = {DO: WONT, WILL: DONT}
_CR = 0x0D

# The longest in use (authentication, environment) have a few hundred bytes. A peer that never ends the one
# it began must not swallow the session: past this we take it for data.
MAX_SUBNEGOTIATION = 4096

_DATA, _COMMAND, _OPTION, _SUB, _SUB_IAC = range(5)


class Telnet:
    """The received half; for the sent half see `escape`."""

    def __init__(self) -> None:
        self._state = _DATA
        self._verb = 0
        self._sub_length = 0
        self._after_cr = False
        self._replies: dict[bytes, None] = {}  # an ordered set: a flood of one request owes one answer

    def feed(self, data: bytes | memoryview) -> bytes:
        """What of `data` is for the user."""
        raw = bytes(data)
        if self._state != _DATA or IAC in raw:
            raw = self._without_commands(raw)
        return self._without_nul(raw) if raw else raw

    def replies(self) -> bytes:
        """What must be sent to the peer as it is (not through `escape`); each answer is returned once."""
        owed = b"".join(self._replies)
        self._replies.clear()
        return owed

    def flush(self) -> bytes:
        """The peer ended: an unfinished command is dropped."""
        self._state = _DATA
        self._after_cr = False
        return b""

    def _without_commands(self, raw: bytes) -> bytes:
        clean = bytearray()
        at = 0
        while at < len(raw):
            if self._state == _DATA:
                at = self._copy_data(raw, at, clean)
            elif self._state == _SUB:
                at = self._skip_subnegotiation(raw, at)
            else:
                self._step(raw[at], clean)
                at += 1
        return bytes(clean)

    def _copy_data(self, raw: bytes, at: int, clean: bytearray) -> int:
        end = raw.find(IAC, at)
        if end < 0:
            clean += raw[at:]
            return len(raw)
        clean += raw[at:end]
        self._state = _COMMAND
        return end + 1

    def _skip_subnegotiation(self, raw: bytes, at: int) -> int:
        limit = at + MAX_SUBNEGOTIATION - self._sub_length
        end = raw.find(IAC, at, limit)
        if end >= 0:
            self._sub_length += end + 1 - at
            self._state = _SUB_IAC
            return end + 1
        end = min(limit, len(raw))
        self._sub_length += end - at
        if self._sub_length >= MAX_SUBNEGOTIATION:
            self._state = _DATA
        return end

    def _step(self, code: int, clean: bytearray) -> None:
        """One byte of a command, after its IAC."""
        if self._state == _OPTION:
            if self._verb in _ANSWERS:
                self._replies[bytes((IAC, _ANSWERS[self._verb], code))] = None
            self._state = _DATA
        elif self._state == _SUB_IAC and code in (IAC, SE):
            self._sub_length += 1
            self._state = _SUB if code == IAC and self._sub_length < MAX_SUBNEGOTIATION else _DATA
        else:  # also a command inside a subnegotiation, whose SE is missing: the command is the better clue
            self._command(code, clean)

    def _command(self, code: int, clean: bytearray) -> None:
        self._state = _DATA
        if code == IAC:
            clean.append(IAC)
        elif code == SB:
            self._state, self._sub_length = _SUB, 0
        elif code in (WILL, WONT, DO, DONT):
            self._state, self._verb = _OPTION, code

    def _without_nul(self, clean: bytes) -> bytes:
        out = clean.replace(b"\r\0", b"\r")
        if self._after_cr and clean[0] == 0:
            out = out[1:]
        self._after_cr = clean[-1] == _CR
        return out


def escape(data: bytes | memoryview) -> bytes:
    """Our data as telnet sends it: a byte 255 is written twice."""
    return bytes(data).replace(b"\xff", b"\xff\xff")
