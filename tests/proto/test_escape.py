import pytest
from hypothesis import given
from hypothesis import strategies as st

from pync.proto.escape import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, naïve, 日本 ❤", "plain, naïve, 日本 ❤"),
        ("\x1b[31mred\x07\x7f", r"\x1b[31mred\x07\x7f"),
        ("a\nb\tc\r", r"a\x0ab\x09c\x0d"),
        ("\x9b2J", r"\x9b2J"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("a\u2028b", r"a\u2028b"),
        ("\U000e0041", r"\U000e0041"),
        ("\udc9b \ud800", r"\x9b \ud800"),
        ("\udc7f\udc80\udcff\udd00", r"\udc7f\x80\xff\udd00"),
        ("\uffff\U00010000", "\\uffff\U00010000"),
        (b"caf\xc3\xa9 \xff\x1b", "café \\xff\\x1b"),
        (b"", ""),
    ],
)
def test_what_is_shown(text, shown):
    assert printable(text) == shown


def test_kept_characters_stay():
    assert printable("a\tb\x1b", keep="\t") == "a\tb\\x1b"


@given(st.one_of(st.binary(), st.text(st.characters(codec=None))))
def test_result_is_always_safe(text):
    shown = printable(text)
    assert shown.isprintable()
    shown.encode()
    assert printable(shown) == shown
