import pytest
from hypothesis import given
from hypothesis import strategies as st

from pync.proto.chat import MAX_LINE, MAX_NAME, Room, Said
from tests.proto.cuts import cut, of_bytes, places


def room_of(*names: str) -> Room:
    room = Room()
    for name in names:
        room.join(name, name)
    return room


def lines(said: list[Said]) -> list[str]:
    return [one.data.decode() for one in said]


def test_a_line_goes_to_the_others_under_a_name():
    assert room_of("ann", "bob").feed("ann", b"hello\n") == [Said(b"<ann> hello\n", "ann")]


def test_joining_is_welcomed_and_announced():
    room = room_of("ann", "bob")
    welcome, announcement = room.join("key", "cy")
    assert welcome.private
    assert welcome.member == "key"
    assert welcome.data == b"* you are cy, /nick NAME changes that; here: ann, bob\n"
    assert announcement == Said(b"* cy joined\n", "key")


def test_first_member_is_told_of_nobody():
    assert lines(Room().join(1)) == ["* you are user1, /nick NAME changes that\n", "* user1 joined\n"]


def test_a_welcome_does_not_grow_with_the_room():
    room = room_of(*(f"member{n}" for n in range(1000)))
    welcome = room.join("key", "cy")[0].data
    assert b"member19 and 980 more" in welcome
    assert len(welcome) < 400


def test_leaving_says_the_unfinished_line_first():
    room = room_of("ann", "bob")
    assert room.feed("ann", b"bye") == []
    assert room.leave("ann") == [Said(b"<ann> bye\n", "ann"), Said(b"* ann left\n", "ann")]
    welcome, joined = lines(room.join("again", "ann"))
    assert welcome.endswith("; here: bob\n")
    assert joined == "* ann joined\n"


def test_who_says_no_more_has_said_the_unfinished_line():
    room = room_of("ann", "bob")
    assert room.finish("ann") == []
    room.feed("ann", b"bye")
    assert room.finish("ann") == [Said(b"<ann> bye\n", "ann")]
    assert room.finish("ann") == []
    assert room.leave("ann") == [Said(b"* ann left\n", "ann")]


def test_crlf_and_empty_lines():
    assert lines(room_of("ann").feed("ann", b"a\r\n\n\r\nb\n")) == [
        "<ann> a\n",
        "<ann> \n",
        "<ann> \n",
        "<ann> b\n",
    ]


def test_nick_changes_the_name():
    room = room_of("ann", "bob")
    mine, others = room.feed("ann", b"/nick zoe\r\n")
    assert mine == Said(b"* you are zoe\n", "ann", private=True)
    assert others == Said(b"* ann is now zoe\n", "ann")
    assert lines(room.feed("ann", b"x\n")) == ["<zoe> x\n"]
    assert lines(room.feed("bob", b"/nick ann\n"))[1] == "* bob is now ann\n"


@pytest.mark.parametrize(
    "name",
    [b"", b" ", b"two words", b"<ann>", b"\x1b[2J", b"\xff", "\u202eabc".encode(), b"x" * (MAX_NAME + 1)],
)
def test_a_bad_name_is_refused_in_private(name):
    room = room_of("ann", "bob")
    (said,) = room.feed("ann", b"/nick " + name + b"\n")
    assert said.private
    assert b"a name is" in said.data
    assert lines(room.feed("ann", b"x\n")) == ["<ann> x\n"]


def test_a_taken_name_is_refused_whatever_the_case():
    room = room_of("ann", "bob")
    (said,) = room.feed("bob", b"/nick ANN\n")
    assert said == Said(b"* ANN is taken\n", "bob", private=True)


def test_the_case_of_the_own_name_may_change():
    assert lines(room_of("ann").feed("ann", b"/nick Ann\n")) == ["* you are Ann\n", "* ann is now Ann\n"]


def test_the_same_name_again_is_no_news():
    assert lines(room_of("ann").feed("ann", b"/nick ann\n")) == ["* you are ann\n"]


def test_other_slashes_are_text():
    said = room_of("ann").feed("ann", b"/etc/passwd\n/nickname\n /nick x\n")
    assert lines(said) == ["<ann> /etc/passwd\n", "<ann> /nickname\n", "<ann>  /nick x\n"]


def test_names_given_at_the_door_are_made_fit_and_unique():
    room = room_of("ann")
    assert b"you are ann-2," in room.join(1, "ann")[0].data
    assert b"you are ann-4," in room_of("ann", "ann-3").join(1, "ann")[0].data
    assert b"you are evil," in room.join(2, "<e v\x1bil>\n")[0].data
    assert b"you are user1," in room.join(3, "<>")[0].data
    long = room.join(4, "x" * 99)[0].data.split()[3]
    longer = room.join(5, "x" * 99)[0].data.split()[3]
    assert len(long) == len(longer) == MAX_NAME + 1  # and the comma
    assert long != longer


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (b"\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
        (b"\x9b2J \xff", r"\x9b2J \xff"),
        ("\u202eevil \x9b".encode(), r"\u202eevil \x9b"),
        (b"fake\r<bob> hi", r"fake\x0d<bob> hi"),
        ("tab\tand 日本\u3000👩\u200d🚀".encode(), "tab\tand 日本\u3000👩\u200d🚀"),
    ],
)
def test_nothing_acts_on_the_terminal_of_another(sent, shown):
    assert lines(room_of("ann").feed("ann", sent + b"\n")) == [f"<ann> {shown}\n"]


def test_a_long_line_is_passed_on_in_pieces():
    room = room_of("ann")
    said = room.feed("ann", b"x" * (2 * MAX_LINE + 5) + b"\nnext\n")
    assert [len(line) for line in lines(said)] == [7 + MAX_LINE, 7 + MAX_LINE, 12, 11]


def test_a_line_of_just_the_longest_length_is_one_piece():
    room = room_of("ann")
    assert room.feed("ann", b"x" * MAX_LINE) == []
    assert lines(room.feed("ann", b"\n")) == ["<ann> " + "x" * MAX_LINE + "\n"]


def test_a_line_of_one_byte_more_is_two_pieces():
    said = room_of("ann").feed("ann", b"x" * (MAX_LINE + 1) + b"\n")
    assert [len(line) for line in lines(said)] == [7 + MAX_LINE, 7 + 1]


def test_the_pieces_of_a_line_are_no_commands():
    said = room_of("ann").feed("ann", b"/nick " + b" " * MAX_LINE + b"zoe\n" + b"y" * MAX_LINE + b"/nick a\n")
    assert not any(one.private for one in said)
    assert lines(said)[-1] == "<ann> /nick a\n"


@pytest.mark.parametrize("character", ["é", "日", "😀"])
@pytest.mark.parametrize("before", range(4))
def test_pieces_keep_characters_whole(character, before):
    said = room_of("ann").feed("ann", b"x" * before + character.encode() * MAX_LINE + b"\n")
    text = "".join(line[6:-1] for line in lines(said))
    assert text == "x" * before + character * MAX_LINE


@pytest.mark.parametrize("filling", [b"x", b"\x80"])
def test_what_is_held_is_bounded(filling):
    room = room_of("ann")
    for _ in range(100):
        room.feed("ann", filling * 1000)
    assert len(room._members["ann"].held) <= MAX_LINE


chat_bytes = st.one_of(
    of_bytes(b"/nick ab\r\n\x1b\xc3\xa9"),
    st.builds(
        lambda head, fill, tail: head + fill * (MAX_LINE // len(fill)) + tail,
        of_bytes(b"a\xc3\xa9\n", 8),
        st.sampled_from([b"x", "é".encode(), b"\x80", "日".encode()]),
        of_bytes(b"a\r\n/nick \xc3\xa9", 20),
    ),
)


@given(chat_bytes, places)
def test_cuts_do_not_matter(data, where):
    whole, pieces = room_of("ann"), room_of("ann")
    expected = whole.feed("ann", data) + whole.leave("ann")
    said = [one for piece in cut(data, where) for one in pieces.feed("ann", memoryview(piece))]
    assert said + pieces.leave("ann") == expected


@given(st.binary())
def test_every_delivery_is_one_safe_line(data):
    for said in room_of("ann").feed("ann", data):
        text = said.data.decode()
        assert text.endswith("\n")
        assert text[:-1].replace("\t", "").replace("\xa0", "").isprintable() or any(
            c in text for c in "\u3000\u200c\u200d"
        )
