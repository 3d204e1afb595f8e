"""Text from the wire, made safe to show on a terminal."""

_RAW_BYTES = range(0xDC80, 0xDD00)  # how os.fsdecode carries a byte that is not UTF-8 (PEP 383)

SHOWN_MAX = 1000


def printable(text: str | bytes, *, keep: str = "") -> str:
    """`text` with what a terminal could act on, or hide, written as `\\xNN`, `\\uNNNN` or `\\UNNNNNNNN`.

    That is what `str.isprintable` refuses: C0 and C1 controls, line and paragraph separators, bidi overrides
    and other invisible formatting, surrogates, and spaces other than the plain one. Characters in `keep` stay
    as they are. Bytes are read as UTF-8, and those that are not show as `\\xNN`.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in keep else _escaped(ord(char)) for char in text)


def shortened(text: str) -> str:
    """`text`; of a path that would fill a screen, its beginning and its end."""
    return text if len(text) <= SHOWN_MAX else f"{text[: SHOWN_MAX // 2]}...{text[-SHOWN_MAX // 2 :]}"


def _escaped(code: int) -> str:
    if code in _RAW_BYTES:
        code -= 0xDC00
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
