"""The Python API where something is wrong, closed, secured or over datagrams."""

import socket
import threading
import time

import pytest

import pync


@pytest.fixture
def listener():
    with pync.listen("127.0.0.1:0", timeout=20.0) as it:
        yield it


def test_udp_may_be_an_option_instead_of_a_scheme():
    with (
        pync.listen("127.0.0.1:0", udp=True, timeout=20.0) as listener,
        pync.connect(f"127.0.0.1:{listener.port}", udp=True, timeout=20.0) as client,
    ):
        client.send(b"one")
        client.send(b"two")
        with listener.accept(20.0) as server:
            assert [server.recv(), server.recv()] == [b"one", b"two"]


def test_a_place_that_is_taken_cannot_be_listened_on(listener):
    with pytest.raises(pync.LocalError, match="address already in use"):
        pync.listen(f"127.0.0.1:{listener.port}")


def test_a_closed_listener_says_so_and_resets_whom_nobody_took(listener):
    where = ("127.0.0.1", listener.port)
    with (
        socket.create_connection(where, timeout=20) as first,
        socket.create_connection(where, timeout=20) as rest,
    ):
        with listener.accept(20.0) as server:
            assert server.peer.endswith(f":{first.getsockname()[1]}")
        listener.close()
        listener.close()
        with pytest.raises(pync.UsageError, match="closed"):
            listener.accept(0.0)
        assert first.recv(1) == b""
        with pytest.raises(ConnectionResetError):
            rest.recv(1)


def test_a_listener_gives_its_clients_one_after_another(listener):
    for word in (b"first", b"second"):
        with pync.connect(f"127.0.0.1:{listener.port}") as client:
            client.send(word)
    said = []
    for connection in listener:
        with connection:
            said.append(connection.read())
        if len(said) == 2:
            break
    assert sorted(said) == [b"first", b"second"]


def test_tls_both_ways():
    with pync.listen("127.0.0.1:0", tls=True, timeout=20.0) as listener:
        heard = []

        def serve():
            with listener.accept(20.0) as server:
                heard.append(server.read())
                server.send(b"answer")
                server.send_eof()

        thread = threading.Thread(target=serve)
        thread.start()
        with pync.connect(f"127.0.0.1:{listener.port}", tls=True, tls_insecure=True, timeout=20.0) as client:
            client.send(b"question")
            client.send_eof()
            assert client.read() == b"answer"
        thread.join(20)
        assert heard == [b"question"]


def test_who_does_not_speak_tls_is_told_by_the_exception():
    with (
        pync.listen("127.0.0.1:0", tls=True, timeout=20.0) as listener,
        socket.create_connection(("127.0.0.1", listener.port), timeout=20) as client,
    ):
        client.sendall(b"GET / HTTP/1.0\r\n\r\n" * 10)
        with pytest.raises(pync.PyncError):
            listener.accept(20.0)


def test_a_silent_tls_handshake_is_over_with_the_timeout():
    with (
        pync.listen("127.0.0.1:0", tls=True, timeout=0.3) as listener,
        socket.create_connection(("127.0.0.1", listener.port), timeout=20) as client,
    ):
        begin = time.monotonic()
        with pytest.raises(pync.TimedOut, match="handshake"):
            listener.accept(20.0)
        assert time.monotonic() - begin < 8  # without a timeout it is ten seconds
        assert client.recv(1) == b""


def test_transfers_leave_stdin_and_stdout_to_the_program(tmp_path):
    for paths in ([], ["-"]):
        with pytest.raises(pync.UsageError, match="stdin belongs to the program"):
            pync.send("127.0.0.1:1", paths)
    with pytest.raises(pync.UsageError, match="stdout belongs to the program"):
        pync.recv("127.0.0.1:0", "-")


def test_a_transfer_that_is_done_in_part_raises_and_delivers_the_rest(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    for folder in (source, target):
        folder.mkdir()
    (source / "new").write_bytes(b"new")
    (source / "there").write_bytes(b"from the sender")
    (target / "there").write_bytes(b"was there before")
    port_file = tmp_path / "port"
    failures = []

    def receive():
        with pytest.raises(pync.PartialError) as failure:
            pync.recv("127.0.0.1:0", target, port_file=str(port_file))
        failures.append(failure.value.code)

    thread = threading.Thread(target=receive)
    thread.start()
    pause = threading.Event()
    while not port_file.exists() and thread.is_alive():
        pause.wait(0.005)
    with pytest.raises(pync.PartialError):
        pync.send(f"127.0.0.1:{port_file.read_text().strip()}", [source / "new", source / "there"])
    thread.join(20)
    assert failures == [5]
    assert (target / "new").read_bytes() == b"new"
    assert (target / "there").read_bytes() == b"was there before"


def test_a_scan_of_which_a_part_is_impossible_raises(listener):
    seen = []
    with pytest.raises(pync.PartialError):
        pync.scan(["127.0.0.1", "no-such-name.invalid"], str(listener.port), found=seen.append)
    assert [port.port for port in seen] == [listener.port]


@pytest.mark.parametrize("until", ["open", "closed"])
def test_a_unix_socket_that_was_waited_for_is_found(until, tmp_path):
    path, seen = tmp_path / "socket", []
    with socket.socket(socket.AF_UNIX) as service:
        service.bind(str(path))
        if until == "open":
            service.listen()
        found = pync.scan(f"unix:{path}", wait=20.0, until=until, found=seen.append)
    assert [(port.address, port.port, port.proto, port.state) for port in found] == [
        (str(path), 0, "unix", until)
    ]
    assert seen == found


def test_a_banner_is_what_the_service_said(listener):
    def serve():
        with listener.accept(20.0) as server:
            server.send(b"SSH-2.0-of-a-test\r\n")
            server.send_eof()
            server.read()

    thread = threading.Thread(target=serve)
    thread.start()
    (port,) = pync.scan("127.0.0.1", str(listener.port), banner=True)
    thread.join(20)
    assert port.banner == {"protocol": "ssh", "text": "SSH-2.0-of-a-test"}
    assert pync.scan("127.0.0.1", str(listener.port))[0].banner is None


def test_the_package_lists_what_it_offers():
    assert set(pync.__all__) <= set(dir(pync))
    assert all(getattr(pync, name) for name in pync.__all__)
    with pytest.raises(AttributeError):
        pync.no_such_name  # noqa: B018
