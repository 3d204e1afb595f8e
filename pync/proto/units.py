"""Durations, sizes and rates: from the words of a user to numbers, and back to words for people.

Suffixes of sizes follow coreutils and curl: `K`, `M`, `G`, `T` and `KiB`... are powers of 1024, `KB`, `MB`...
powers of 1000. Every parser raises ValueError with a message that says what is allowed.
"""

_SECONDS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

_BYTES = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgt", start=1):
    _BYTES[_letter] = _BYTES[f"{_letter}ib"] = 1024**_power
    _BYTES[f"{_letter}b"] = 1000**_power

# Longer than any socket time-out or poll() can express; larger than any file. Past these a typo is likelier.
LONGEST = 10 * 365 * 86400.0
_LARGEST = 1 << 63

_DURATION_FORMS = "a duration such as 500ms, 2, 2s, 1.5m or 1h"
_SIZE_FORMS = "a size such as 4096, 64K, 1M or 5MiB"
_RATE_FORMS = "bytes a second such as 500K, 5M or 1MiB"


def duration(text: str) -> float:
    """Seconds."""
    number, suffix = _split(text, _DURATION_FORMS)
    unit = _SECONDS.get(suffix)
    if unit is None or float(number) * unit > LONGEST:
        raise ValueError(f"{text!r} is not {_DURATION_FORMS}")
    return float(number) * unit


def size(text: str) -> int:
    """Bytes; a fraction is rounded down (`1.5K` is 1536)."""
    return _bytes(text, text, _SIZE_FORMS)


def rate(text: str) -> float:
    """Bytes a second, never 0; `/s` may be written at the end."""
    value = _bytes(text, text.removesuffix("/s"), _RATE_FORMS)
    if value == 0:
        raise ValueError(f"a rate of {text} would never send anything; say {_RATE_FORMS}")
    return float(value)


def _bytes(text: str, bare: str, forms: str) -> int:
    number, suffix = _split(bare, forms, shown=text)
    unit = _BYTES.get(suffix.lower())
    if unit is None:
        raise ValueError(f"{text!r} is not {forms}")
    whole, _, fraction = number.partition(".")
    # Integers all the way: a float would round sizes above 2**53.
    value = int(whole or "0") * unit
    if fraction:
        value += int(fraction) * unit // 10 ** len(fraction)
    if value >= _LARGEST:
        raise ValueError(f"{text!r} is too large: {forms}")
    return value


def _split(text: str, forms: str, *, shown: str | None = None) -> tuple[str, str]:
    """The number and the suffix. Stricter than float(): no sign, exponent, underscore or `inf`."""
    end = 0
    while end < len(text) and text[end] in "0123456789.":
        end += 1
    number = text[:end]
    # 30 digits are more than any limit above, and keep int() away from its own limit on digits.
    if number.strip(".") == "" or number.count(".") > 1 or len(number) > 30:
        raise ValueError(f"{(text if shown is None else shown)!r} is not {forms}")
    return number, text[end:]


def say_size(count: float) -> str:
    """`512 B`, `1.4 MiB`: three significant digits, the unit people expect for files."""
    if count < 1024:
        return f"{int(count)} B"
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        count /= 1024
        if count < 1023.95 or unit == "TiB":
            break
    return f"{count:.0f} {unit}" if count >= 99.95 else f"{count:.1f} {unit}"


def say_duration(seconds: float) -> str:
    """`0.21 s`, `12 s`, `3:07`, `1:02:09`."""
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
