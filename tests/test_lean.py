"""`pync.lean.NamedTuple` does what the one of `typing` does, which type checkers take it for."""

from __future__ import annotations

import copy
import pickle
import typing

import pytest

from pync.endpoint import parse
from pync.lean import NamedTuple


class Ours(NamedTuple):
    host: str
    port: int = 80
    words: tuple[str, ...] = ()


class Theirs(typing.NamedTuple):
    host: str
    port: int = 80
    words: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (("h",), {}),
        (("h", 1), {}),
        (("h", 1, ("w",)), {}),
        ((), {"host": "h"}),
        ((), {"host": "h", "words": ("w",)}),
        (("h",), {"port": 2}),
    ],
)
def test_both_are_made_alike(values, named):
    ours, theirs = Ours(*values, **named), Theirs(*values, **named)
    assert ours == theirs
    assert (ours.host, ours.port, ours.words) == (theirs.host, theirs.port, theirs.words)
    assert repr(ours) == repr(theirs).replace("Theirs", "Ours")
    assert ours._asdict() == theirs._asdict()
    assert hash(ours) == hash(theirs)


@pytest.mark.parametrize(
    ("values", "named", "words"),
    [
        ((), {}, "needs 'host'"),
        (("h", 1, (), 4), {}, "has 3 fields, 4 were given"),
        (("h",), {"colour": 1}, "no field 'colour'"),
        (("h",), {"host": "again"}, "'host', or has it twice"),
    ],
)
def test_both_refuse_alike(values, named, words):
    with pytest.raises(TypeError):
        Theirs(*values, **named)
    with pytest.raises(TypeError, match=words):
        Ours(*values, **named)


def test_a_copy_with_changes():
    assert Ours("h")._replace(port=1, host="i") == Theirs("h")._replace(port=1, host="i")
    with pytest.raises(TypeError, match="no field 'colour'"):
        Ours("h")._replace(colour=1)


def test_values_of_the_api_can_be_copied_and_sent_to_another_process():
    endpoint = parse("[::1]:80")
    for again in (copy.copy(endpoint), copy.deepcopy(endpoint), pickle.loads(pickle.dumps(endpoint))):
        assert type(again) is type(endpoint)
        assert again == endpoint


def test_they_match_by_place_and_cannot_be_changed():
    match Ours("h", 1):
        case Ours(host, port):
            assert (host, port) == ("h", 1)
    with pytest.raises(AttributeError):
        Ours("h").port = 2
    assert Ours._fields == Theirs._fields
    assert Ours._field_defaults == Theirs._field_defaults
