"""Line ends for the wire: LF becomes CRLF, and a CRLF stays one."""


class Crlf:
    """The filter of `--crlf`. What comes out does not depend on how the input is cut into reads."""

    def __init__(self) -> None:
        self._after_cr = False

    def feed(self, data: bytes | memoryview) -> bytes:
        """`data` as it goes on the wire; nothing is held back."""
        raw = bytes(data)
        if not raw:
            return b""
        # Folding first keeps an existing CRLF from gaining a second CR; both passes run at memchr speed.
        out = raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        if self._after_cr and raw[0] == 0x0A:
            out = out[1:]  # its CR left with the previous read
        self._after_cr = raw[-1] == 0x0D
        return out

    def flush(self) -> bytes:
        """The input ended, or (datagrams) one message did: the next `feed` starts afresh."""
        self._after_cr = False
        return b""
