"""Questions to the user at the terminal: the secret, without echo, and whether to take what comes."""

from __future__ import annotations

import os
import sys

from pync.errors import LocalError, UsageError, reason
from pync.loop import READ, Loop
from pync.proto import transfer_messages as messages
from pync.proto.escape import printable

_LINE_MAX = 4096


def at_terminal() -> bool:
    """Whether somebody can answer: both stdin and stderr are a terminal."""
    return os.isatty(0) and os.isatty(2)


def secret_from(words: str | None, file: str | None, *, makes: int) -> tuple[str | None, bool]:
    """The secret the user wants, None for none, and whether we made it up just now.

    In order: the words given, --secret-file, PYNC_SECRET, then a new code of `makes` words. Raises
    LocalError for a file that cannot be read.
    """
    if words is None and file is None:
        return None, False
    known = _known(words, file)
    if known:
        return known, False
    from pync.proto.secret import make_code

    return make_code(makes), True


async def secret_typed(loop: Loop, words: str | None, file: str | None) -> str | None:
    """The same for an end that makes up no code: in its place somebody at the terminal is asked.

    Raises UsageError when there is nobody, too.
    """
    if words is None and file is None:
        return None
    return _known(words, file) or await _prompt(loop)


def _known(words: str | None, file: str | None) -> str:
    if words:
        return words
    return _first_line(file) if file is not None else os.environ.get("PYNC_SECRET", "")


def _first_line(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            line = file.readline(_LINE_MAX).rstrip("\r\n")
    except OSError as error:
        raise LocalError(f"--secret-file {path}: {reason(error)}") from None
    if not line.strip():
        raise LocalError(f"--secret-file {path}: its first line is empty")
    return line


async def _prompt(loop: Loop) -> str:
    """Typed without echo on the controlling terminal; stdin may well be the data."""
    try:
        fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        raise UsageError(
            "--secret: nobody can be asked for it here",
            hint="give --secret=WORDS, --secret-file FILE or set PYNC_SECRET",
        ) from None
    try:
        line = await _hidden_line(loop, fd, "secret: ")
    except OSError as error:
        raise LocalError(f"--secret: the terminal: {reason(error)}") from None
    finally:
        loop.forget(fd)
        os.close(fd)
    if not line.strip():
        raise UsageError("--secret: no secret was typed")
    return line


async def _hidden_line(loop: Loop, fd: int, question: str) -> str:
    """Waits in the loop, which owns the signals and the deadline: either of them ends it, echo restored."""
    import termios

    before = termios.tcgetattr(fd)
    quiet = before[:]
    quiet[3] &= ~termios.ECHO
    try:
        termios.tcsetattr(fd, termios.TCSAFLUSH, quiet)
        os.write(fd, question.encode())
        await loop.wait(fd, READ)
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
