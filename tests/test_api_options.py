"""The keyword arguments of the Python API: each is honoured, or refused by name."""

import math
import os
import socket
import threading
from pathlib import Path

import pytest

import pync
from pync.cli.build import OPTIONS
from pync.keywords import read


def options_of(kind):
    """The names of all options of a command."""
    return [name for owner in kind.__mro__ for name in vars(owner) if not name.startswith("_")]


def test_a_client_that_is_denied_is_closed_and_never_handed_out(tmp_path):
    (tmp_path / "deny").write_text("127.0.0.2  # and nobody else\n")
    with pync.listen("127.0.0.1:0", deny_file=tmp_path / "deny", timeout=20.0) as listener:
        where = ("127.0.0.1", listener.port)
        with (
            socket.create_connection(where, timeout=20, source_address=("127.0.0.2", 0)) as denied,
            socket.create_connection(where, timeout=20, source_address=("127.0.0.3", 0)) as welcome,
        ):
            with listener.accept(20.0) as server:
                assert server.peer.endswith(f":{welcome.getsockname()[1]}")
            assert denied.recv(1) == b""
            with pytest.raises(pync.TimedOut):
                listener.accept(0.0)


@pytest.mark.parametrize("rules", [{"deny": "127.0.0.2"}, {"allow": ("10.0.0.0/8", "127.0.0.3")}])
def test_a_datagram_of_somebody_denied_makes_no_client(rules):
    with (
        pync.listen("udp://127.0.0.1:0", timeout=20.0, **rules) as listener,
        socket.socket(type=socket.SOCK_DGRAM) as denied,
        socket.socket(type=socket.SOCK_DGRAM) as welcome,
    ):
        for sock, host, word in ((denied, "127.0.0.2", b"no"), (welcome, "127.0.0.3", b"yes")):
            sock.bind((host, 0))
            sock.sendto(word, ("127.0.0.1", listener.port))
        with listener.accept(20.0) as server:
            assert server.recv() == b"yes"
        with pytest.raises(pync.TimedOut):
            listener.accept(0.0)


def test_wrong_rules_are_told_before_anybody_can_come(tmp_path):
    with pytest.raises(pync.UsageError, match="bad access rule 'garbage!!'"):
        pync.listen("127.0.0.1:0", deny="garbage!!")
    with pytest.raises(pync.LocalError, match="no such file"):
        pync.listen("127.0.0.1:0", allow_file=tmp_path / "nowhere")


def test_a_listener_says_where_it_is_bound(tmp_path):
    reader, writer = os.pipe()
    os.set_blocking(reader, False)  # all has been said by the time that there is a listener
    with (
        open(reader, "rb", buffering=0) as ready,
        pync.listen("127.0.0.1:0", port_file=tmp_path / "port", ready_fd=writer) as listener,
    ):
        assert ready.readall() == b"\n"
        assert (tmp_path / "port").read_text() == f"{listener.port}\n"


def test_a_listener_that_cannot_say_where_it_is_gives_the_place_back(tmp_path):
    path = tmp_path / "socket"
    with pytest.raises(pync.LocalError, match="no such file"):
        pync.listen(f"unix:{path}", port_file=tmp_path / "nowhere" / "port")
    assert not path.exists()


def test_connect_tries_again_as_long_as_it_is_told_to(monkeypatch):
    from pync.commands import connect

    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{place.getsockname()[1]}"
        with pytest.raises(pync.NetworkError, match=r"refused \(tried for 0.1 s\)"):
            pync.connect(where, retry_for=0.1)
        dial, tries = connect.dial, []

        async def dial_then_listen(*arguments):
            tries.append(where)
            try:
                return await dial(*arguments)
            finally:
                place.listen()

        monkeypatch.setattr(connect, "dial", dial_then_listen)
        pync.connect(where, retry=5, retry_delay=0.01, timeout=20.0).close()
        assert len(tries) == 2


# What connect and listen honour; a new option must be put here, or it is refused.
OPENS = {
    *("ipv4", "ipv6", "numeric", "udp", "unix", "source", "source_port", "interface", "timeout"),
    *("nodelay", "keepalive", "dscp", "ttl", "sndbuf", "rcvbuf", "broadcast", "multicast"),
    *("tls", "tls_cert", "tls_key", "tls_alpn", "tls_min", "tls_allow_truncation"),
}
HONOURED = {
    "connect": {
        *OPENS,
        *("proxy", "retry", "retry_for", "retry_delay"),
        *("tls_ca", "tls_fingerprint", "tls_insecure", "tls_name"),
    },
    "listen": {
        *OPENS,
        *("allow", "deny", "allow_file", "deny_file", "port_file", "ready_fd"),
        *("backlog", "reuse_port", "tls_client_ca"),
    },
}
SHOWN = {"progress", "json", "verbose", "quiet"}
REFUSED = {
    **{name: set(options_of(OPTIONS[name])) - honoured for name, honoured in HONOURED.items()},
    "send": SHOWN,
    "recv": SHOWN,
    "scan": {*SHOWN, "csv", "grepable", "command"},
}


@pytest.mark.parametrize("command", REFUSED)
def test_what_cannot_be_honoured_is_refused_by_name(command):
    call = {"send": ("unix:nowhere", "path"), "recv": ("unix:nowhere", "path")}.get(
        command, ("unix:nowhere",)
    )
    assert REFUSED[command]
    for name in REFUSED[command]:
        with pytest.raises(pync.UsageError, match=rf"^{command}\(\) does not take {name}: \w+"):
            getattr(pync, command)(*call, **{name: 1})


@pytest.mark.parametrize("command", OPTIONS)
def test_every_option_that_is_not_refused_is_checked(command):
    known = set(options_of(OPTIONS[command])) - {"paths", "targets"}
    for name in known - REFUSED[command]:
        with pytest.raises(pync.UsageError, match=rf"^{command}\(\): {name}: "):
            read(command, {name: object()})
    assert read(command, dict.fromkeys(known - {"command"})) == {}
    with pytest.raises(TypeError, match="no option 'no_such'"):
        OPTIONS[command](**read(command, {"no_such": None}))


RIGHT = [
    ("connect", "timeout", 3, 3.0),
    ("connect", "dscp", 63, 63),
    ("connect", "source_port", 0, 0),
    ("connect", "source_port", "http", "http"),
    ("connect", "proxy", "http://proxy:1", ("http://proxy:1",)),
    ("connect", "tls", False, False),
    ("connect", "tls_alpn", "h2,http/1.1", ("h2", "http/1.1")),
    ("connect", "tls_alpn", ["h2"], ("h2",)),
    ("connect", "tls_fingerprint", "AB" * 32, f"sha256:{'ab' * 32}"),
    ("recv", "secret", "", ""),
    ("recv", "secret_file", Path("secret"), "secret"),
    ("recv", "max_size", 0, 0),
    ("scan", "rate", 0.5, 0.5),
    ("scan", "ports", 22, "22"),
    ("scan", "exclude", ["a", Path("b")], ("a", "b")),
    ("scan", "shard", (1, 4), (1, 4)),
]


@pytest.mark.parametrize(("command", "name", "given", "value"), RIGHT)
def test_values_become_what_the_command_works_with(command, name, given, value):
    found = read(command, {name: given})
    assert found == {name: value}
    assert type(found[name]) is type(value)


WRONG = [
    ("connect", "timeout", (-3, -0.001, "3s", math.nan, math.inf, True, 1e10)),
    ("connect", "retry", (-1, 1.0, "1", True)),
    ("connect", "dscp", (64, -1)),
    ("connect", "sndbuf", (0, "64K")),
    ("connect", "source_port", (-1, 65_536, 1.5, True)),
    ("connect", "proxy", (b"http://proxy:1", [1], 1, "")),
    ("connect", "tls", (1, "no")),
    ("connect", "tls_min", ("1.1", 1.2)),
    ("connect", "tls_fingerprint", ("sha256:00", b"")),
    ("recv", "rate", (0, -1, "5M", math.nan, math.inf)),
    ("recv", "max_size", (-1, 1.5)),
    ("recv", "secret", (1234, b"words")),
    ("scan", "ports", (-5, 65_536, [22], 22.0, "")),
    ("scan", "shard", ("1/4", (0, 4), (5, 4), (1,), (1.0, 4))),
    ("scan", "wait", (-1, "30s")),
]


@pytest.mark.parametrize(("command", "name", "values"), WRONG, ids=[f"{row[0]}-{row[1]}" for row in WRONG])
def test_what_the_command_line_would_not_take_is_refused(command, name, values):
    for value in values:
        with pytest.raises(pync.UsageError, match=rf"^{command}\(\): {name}: "):
            read(command, {name: value})


def test_a_wrong_secret_is_not_repeated():
    with pytest.raises(pync.UsageError) as refusal:
        pync.recv("127.0.0.1:0", "inbox", secret=b"7-otter-violin")
    assert "otter" not in str(refusal.value)


def test_wrong_values_are_told_by_every_function(tmp_path):
    for call in (
        lambda: pync.connect("127.0.0.1:9", timeout=-3),
        lambda: pync.listen("127.0.0.1:0", timeout="3s"),
        lambda: pync.send("127.0.0.1:9", tmp_path, retry_for=-1),
        lambda: pync.recv("127.0.0.1:0", tmp_path, timeout=-1),
        lambda: pync.scan("127.0.0.1", [22]),
        lambda: pync.scan([b"127.0.0.1"], 22),
        lambda: pync.send("127.0.0.1:9", [b"name"]),
    ):
        with pytest.raises(pync.UsageError, match=r"^(connect|listen|send|recv|scan)\(\): "):
            call()
    with pync.listen("127.0.0.1:0") as listener:
        for wrong in (-3, "3s"):
            with pytest.raises(pync.UsageError, match=r"^accept\(\): timeout: "):
                listener.accept(wrong)


def test_one_alone_is_not_walked_by_its_letters(tmp_path):
    with pync.listen("127.0.0.1:0") as listener:
        (open_port,) = pync.scan("127.0.0.1", listener.port)
        assert open_port.port == listener.port
        with pytest.raises(pync.NetworkError, match="all are excluded"):
            pync.scan("127.0.0.1", listener.port, exclude="127.0.0.1")
    (tmp_path / "ab").write_text("the file that was named")
    meet = f"unix:{tmp_path}/meet"
    for number, path in enumerate((f"{tmp_path}/ab", tmp_path / "ab")):
        receiver = threading.Thread(target=pync.recv, args=[meet, tmp_path / f"copy{number}"])
        receiver.start()
        sent = pync.send(meet, path, deadline=20.0)
        receiver.join(20.0)
        assert [file["name"] for file in sent.files] == ["ab"]
        assert (tmp_path / f"copy{number}").read_text() == "the file that was named"


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets")
def test_unix_may_be_an_option_instead_of_a_scheme(tmp_path):
    path = str(tmp_path / "socket")
    with pync.listen(path, unix=True), pync.connect(path, unix=True) as client:
        assert client.peer == f"unix:{path}"


@pytest.mark.parametrize("options", [{"port_file": "port"}, {"ready_fd": 3}])
def test_nobody_is_told_of_a_port_that_is_not_opened(tmp_path, options):
    (tmp_path / "f").write_bytes(b"x")
    with pytest.raises(pync.UsageError, match="needs --listen"):
        pync.send("127.0.0.1:1", tmp_path / "f", **options)
    with pytest.raises(pync.UsageError, match="--connect and --"):
        pync.recv("127.0.0.1:1", tmp_path, connect=True, **options)
