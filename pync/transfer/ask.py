"""Questions to the user at the terminal: the secret, without echo, and whether to take what comes."""

from __future__ import annotations

import os
import sys

from pync.errors import LocalError, UsageError, reason
from pync.proto import transfer_messages as messages
from pync.proto.escape import printable

_LINE_MAX = 4096


def at_terminal() -> bool:
    """Whether somebody can answer: both stdin and stderr are a terminal."""
    return os.isatty(0) and os.isatty(2)


def secret_from(words: str | None, file: str | None, *, makes: int | None) -> tuple[str | None, bool]:
    """The secret the user wants, None for none, and whether we made it up just now.

    In order: the words given, --secret-file, PYNC_SECRET, then a new code of `makes` words, or (None) a
    prompt. Raises UsageError when nobody can be asked, LocalError for a file that cannot be read.
    """
    if words is None and file is None:
        return None, False
    if words:
        return words, False
    if file is not None:
        return _first_line(file), False
    known = os.environ.get("PYNC_SECRET", "")
    if known:
        return known, False
    if makes is not None:
        from pync.proto.secret import make_code

        return make_code(makes), True
    return _prompt(), False


def _first_line(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            line = file.readline(_LINE_MAX).rstrip("\r\n")
    except OSError as error:
        raise LocalError(f"--secret-file {path}: {reason(error)}") from None
    if not line.strip():
        raise LocalError(f"--secret-file {path}: its first line is empty")
    return line


def _prompt() -> str:
    """Typed without echo on the controlling terminal; stdin may well be the data."""
    try:
        fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        raise UsageError(
            "--secret: nobody can be asked for it here",
            hint="give --secret=WORDS, --secret-file FILE or set PYNC_SECRET",
        ) from None
    try:
        line = _hidden_line(fd, "secret: ")
    finally:
        os.close(fd)
    if not line.strip():
        raise UsageError("--secret: no secret was typed")
    return line


def _hidden_line(fd: int, question: str) -> str:
    import termios

    before = termios.tcgetattr(fd)
    quiet = before[:]
    quiet[3] &= ~termios.ECHO
    try:
        termios.tcsetattr(fd, termios.TCSAFLUSH, quiet)
        os.write(fd, question.encode())
        return os.read(fd, _LINE_MAX).decode(errors="surrogateescape").rstrip("\r\n")
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
        os.write(fd, b"\n")


def question(begin: messages.Begin, peer: str) -> str:
    """What the user is asked before the first file."""
    from pync.proto.units import say_size

    name = printable(begin.name) or "a stream"
    what = name if begin.paths == 1 else f"{name} and {begin.paths - 1} more"
    size = "of unknown size" if begin.size == messages.UNKNOWN_SIZE else say_size(begin.size)
    return f"{printable(peer)} sends {what} ({size}). Accept? [y/N] "


def agreed(text: str) -> bool:
    """Ask on the terminal; blocks until answered. No answer is a no."""
    sys.stderr.write(text)
    sys.stderr.flush()
    try:
        answer = os.read(0, _LINE_MAX)
    except OSError:
        return False
    return answer.decode(errors="replace").strip().lower() in ("y", "yes")
