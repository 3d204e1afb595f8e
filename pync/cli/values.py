"""What the value of an option may be.

A Kind names one of the functions here and its fixed arguments, so that the same reading serves Typer's
declaration and, written out as a literal, the quick parser. The functions raise ValueError (or UsageError)
with a message that says what is allowed.
"""

from __future__ import annotations

from pync.proto import units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def text(word: str) -> str:
    if not word:
        raise ValueError("it is empty")
    if "\0" in word:
        raise ValueError("it holds a NUL byte")
    return word


def secret(word: str) -> str:
    """May be empty: the words are then looked for elsewhere."""
    return word


def duration(word: str) -> float:
    return units.duration(word)


def size(word: str) -> int:
    return units.size(word)


def rate(word: str) -> float:
    return units.rate(word)


def whole(word: str, low: int, high: int | None = None) -> int:
    # Nothing int() takes beyond plain digits: no sign, no underscore, no blanks.
    if word.isascii() and word.isdigit() and len(word) < 19:
        value = int(word)
        if value >= low and (high is None or value <= high):
            return value
    span = f"from {low} to {high}" if high is not None else f"{low} or more"
    raise ValueError(f"{word!r} is not a whole number, {span}")


def choice(word: str, *allowed: str) -> str:
    if word in allowed:
        return word
    raise ValueError(f"{word!r} is not one of {', '.join(allowed)}")


def bytes_above_zero(word: str) -> int:
    value = units.size(word)
    if value < 1:
        raise ValueError("it must be at least 1 byte")
    return value


def port(word: str) -> int | str:
    from pync.endpoint import parse_port

    return parse_port(word)


def endpoint(word: str) -> Any:
    from pync.endpoint import parse

    return parse(word)


def commas(word: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in word.split(","))
    if not all(parts):
        raise ValueError(f"{word!r} is not a list such as h2,http/1.1")
    return parts


def fingerprint(word: str) -> str:
    """`sha256:` and 64 digits in lower case; colons and capitals, as other tools print them, are accepted."""
    digits = word.lower().removeprefix("sha256:").replace(":", "")
    if len(digits) != 64 or digits.strip("0123456789abcdef"):
        raise ValueError(f"{word!r} is not sha256: and 64 hexadecimal digits")
    return f"sha256:{digits}"


def per_second(word: str) -> float:
    if word.isascii() and word.isdigit() and 0 < len(word) < 12 and int(word):
        return float(int(word))
    raise ValueError(f"{word!r} is not a number of probes a second, 1 or more")


def shard(word: str) -> tuple[int, int]:
    first, _, second = word.partition("/")
    try:
        count = whole(second, 1, 1_000_000)
        return whole(first, 1, count), count
    except ValueError:
        raise ValueError(f"{word!r} is not K/N with K from 1 to N, such as 1/4") from None


class Kind:
    """One way to read a value: `name` is a function of this module, called as `name(word, *args)`."""

    __slots__ = ("__name__", "args", "metavar", "name")

    def __init__(self, name: str, metavar: str, *args: Any) -> None:
        self.name = name
        self.args = args
        self.metavar = metavar
        self.__name__ = metavar  # what Typer calls the type

    def __call__(self, word: str) -> Any:
        return globals()[self.name](word, *self.args)


TEXT = Kind("text", "TEXT")
FILE = Kind("text", "FILE")
SECRET = Kind("secret", "WORDS")
DURATION = Kind("duration", "D")
SIZE = Kind("size", "SIZE")
BUFFER = Kind("bytes_above_zero", "SIZE")
RATE = Kind("rate", "RATE")
PORT = Kind("port", "PORT")
ENDPOINT = Kind("endpoint", "ENDPOINT")
COMMAS = Kind("commas", "LIST")
FINGERPRINT = Kind("fingerprint", "sha256:HEX")
PER_SECOND = Kind("per_second", "N")
SHARD = Kind("shard", "K/N")


def named(metavar: str) -> Kind:
    """Any text, called `metavar` in the help."""
    return Kind("text", metavar)


def number(low: int, high: int | None = None) -> Kind:
    return Kind("whole", "N", low) if high is None else Kind("whole", "N", low, high)


def one_of(*allowed: str) -> Kind:
    return Kind("choice", "|".join(allowed), *allowed)
