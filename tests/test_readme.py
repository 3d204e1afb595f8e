"""The README's recipes, run as they stand there: only names of hosts and numbers of ports are replaced."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import ssl
import stat
import subprocess
import threading
from pathlib import Path

import pytest
import trustme

from tests.harness import PATIENCE, PYNC, ROOT, free_port, pattern

README = (ROOT / "README.md").read_text()
RECIPES = dict(re.findall(r"<!-- recipe: (\S+) -->\n```sh\n(.*?)\n```", README, re.DOTALL))


@pytest.fixture
def shell(processes, tmp_path):
    """Starts a recipe's line through sh, in a folder of its own, with `pync` on the path."""
    wrapper = tmp_path / "bin" / "pync"
    wrapper.parent.mkdir()
    wrapper.write_text("#!/bin/sh\nexec " + " ".join(f"'{word}'" for word in PYNC) + ' "$@"\n')
    wrapper.chmod(0o755)
    place = tmp_path / "here"
    place.mkdir()

    def run(line, replace=(), **options):
        for old, new in replace:
            assert re.search(old, line), f"{old} is not in: {line}"
            line = re.sub(old, str(new), line)
        env = {"PATH": f"{wrapper.parent}:{os.environ['PATH']}", **options.pop("env", {})}
        return processes.spawn("sh", "-c", line, cwd=place, env=env, **options)

    run.place = place
    return run


def lines(name):
    return RECIPES[name].splitlines()


@contextlib.contextmanager
def server(answer, *, kind=socket.SOCK_STREAM, wrap=None):
    """One client on loopback: `answer(its socket)` in a thread. Yields the port."""
    with socket.socket(socket.AF_INET, kind) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(PATIENCE)  # a client that never comes fails the test, not the run
        if kind == socket.SOCK_STREAM:
            listener.listen()

        def serve():
            if kind == socket.SOCK_DGRAM:
                answer(listener)
                return
            client = listener.accept()[0]
            with wrap(client) if wrap else client as stream:
                answer(stream)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def answer_http(stream):
    request = b""
    while b"\r\n\r\n" not in request:
        request += stream.recv(1000)
    stream.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
    if isinstance(stream, ssl.SSLSocket):
        stream.unwrap().close()


def listening(process):
    """Wait until a recipe says that it is ready."""
    process.expect(r"^listening on ")
    return process


def curl(processes, need, port, path="/"):
    done = processes.spawn(need("curl"), "-sS", f"http://127.0.0.1:{port}{path}").finish()
    assert (done.code, done.err) == (0, ""), done
    return done.out


def test_every_recipe_has_its_test():
    tests = {
        name.removeprefix("test_recipe_").replace("_", "-") for name in globals() if "test_recipe_" in name
    }
    assert RECIPES.keys() == tests


def test_recipe_talk(shell):
    with server(answer_http) as port:
        done = shell(*lines("talk"), [("example.org 80", f"127.0.0.1 {port}")]).finish()
    assert (done.code, done.out) == (0, b"HTTP/1.0 200 OK\r\n\r\n"), done


def test_recipe_talk_tls(shell, tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with server(answer_http, wrap=lambda s: context.wrap_socket(s, server_side=True)) as port:
        replace = [("example.org 443", f"localhost {port}")]
        done = shell(*lines("talk-tls"), replace, env={"SSL_CERT_FILE": str(tmp_path / "ca.pem")}).finish()
    assert (done.code, done.out) == (0, b"HTTP/1.0 200 OK\r\n\r\n"), done


def test_recipe_smtp(shell):
    seen = []

    def answer(stream):
        stream.sendall(b"220 ready\r\n")
        with stream.makefile("rb") as file:
            seen.extend(file)
        stream.sendall(b"221 bye\r\n")

    with server(answer) as port:
        done = shell(*lines("smtp"), [("host 25", f"127.0.0.1 {port}")]).finish()
    assert (done.code, done.out) == (0, b"220 ready\r\n221 bye\r\n"), done
    assert seen == [b"EHLO me\r\n", b"QUIT\r\n"]


def test_recipe_udp(shell):
    def answer(bound):
        data, peer = bound.recvfrom(100)
        bound.sendto(data, peer)

    with server(answer, kind=socket.SOCK_DGRAM) as port:
        done = shell(*lines("udp"), [("host 7", f"127.0.0.1 {port}")]).finish()
    assert (done.code, done.out) == (0, b"ping\n"), done


def test_recipe_web(shell, processes, need):
    port = free_port()
    listening(shell(*lines("web"), [("8000", port)]))
    for _ in range(3):
        assert re.search(rb"\d\d:\d\d:\d\d", curl(processes, need, port))


def test_recipe_web_file(shell, processes, need):
    port = free_port()
    (shell.place / "file").write_bytes(pattern(100_000))
    serving = listening(shell(*lines("web-file"), [("8000", port)]))
    assert curl(processes, need, port, "/file") == pattern(100_000)
    assert serving.finish().code == 0


def test_recipe_chat(shell):
    port = free_port()
    room, enter = lines("chat")
    listening(shell(room, [("9000", port)]))
    ann = shell(enter, [("host 9000", f"127.0.0.1 {port}")])
    ann.expect_out(r"you are user\d+")
    bob = shell(enter, [("host 9000", f"127.0.0.1 {port}")])
    bob.write(b"/nick bob\nhello\n")
    ann.expect_out(r"<bob> hello\n")
    ann.write(b"hello bob\n")
    bob.expect_out(r"> hello bob\n")


def test_recipe_exec(shell):
    port = free_port()
    listening(shell(*lines("exec"), [("9000", port)]))
    for word in (b"one", b"two"):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(word)
            client.shutdown(socket.SHUT_WR)
            assert client.recv(100) == word.upper()


def photos(place):
    (place / "photos").mkdir()
    for number in range(3):
        (place / "photos" / f"{number}.jpg").write_bytes(pattern(50_000, seed=number))
    (place / "notes.txt").write_text("notes")


def same_photos(place, copy):
    for number in range(3):
        name = f"photos/{number}.jpg"
        assert (copy / name).read_bytes() == (place / name).read_bytes()


def deliver(shell, name):
    port = free_port()
    photos(shell.place)
    receive, send = lines(name)
    receiver = listening(shell(receive, [("9000", port)]))
    done = shell(send, [("host 9000", f"127.0.0.1 {port}")]).finish()
    assert done.code == 0, done
    assert receiver.wait().code == 0, receiver.describe()
    same_photos(shell.place, shell.place / "inbox")
    assert (shell.place / "inbox" / "notes.txt").read_text() == "notes"


def test_recipe_send(shell):
    deliver(shell, "send")


def test_recipe_send_secret(shell):
    deliver(shell, "send-secret")


def test_recipe_raw(shell, need):
    port = free_port()
    receive, send = lines("raw")
    receiver = listening(shell(receive, [("9000", port)]))
    file = shell.place / "file"
    (shell.place / "other").mkdir()
    (shell.place / "other" / "file").write_bytes(pattern(300_000))
    done = shell(
        send, [("^nc", need("nc.openbsd")), ("host 9000", f"127.0.0.1 {port}"), ("file", "other/file")]
    ).finish()
    assert done.code == 0, done
    assert receiver.wait().code == 0, receiver.describe()
    assert file.read_bytes() == pattern(300_000)


def test_recipe_tar(shell):
    port = free_port()
    photos(shell.place)
    (shell.place / "backup").mkdir()
    receive, send = lines("tar")
    receiver = listening(shell(receive, [("9000", port)], stdin=subprocess.DEVNULL))
    done = shell(send, [("host 9000", f"127.0.0.1 {port}")]).finish()
    assert done.code == 0, done
    assert receiver.wait().code == 0, receiver.describe()
    same_photos(shell.place, shell.place / "backup")


def test_recipe_stream(shell):
    port = free_port()
    (shell.place / "database").write_bytes(pattern(700_001))
    receive, send = lines("stream")
    receiver = listening(shell(receive, [("9000", port)]))
    done = shell(send, [("host 9000", f"127.0.0.1 {port}")]).finish()
    assert done.code == 0, done
    assert receiver.wait().code == 0, receiver.describe()
    assert (shell.place / "dump.sql").read_bytes() == pattern(700_001)


def test_recipe_wait(shell):
    script = shell.place / "run-tests"
    script.write_text("#!/bin/sh\necho tests run\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    port = free_port()
    waiting = shell(*lines("wait"), [("host:5432", f"127.0.0.1:{port}")])
    with socket.create_server(("127.0.0.1", port)):
        done = waiting.finish()
    assert done.code == 0, done
    assert done.out.endswith(b"tests run\n")


def test_recipe_echo(shell):
    port_file = shell.place / "port"
    shell(*lines("echo")).until(port_file.exists, "the port file")
    port = int(port_file.read_text())
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"echo")
        assert client.recv(100) == b"echo"


def test_recipe_double(shell, processes, need):
    port = free_port()
    double = listening(shell(*lines("double"), [("8000", port)]))
    assert curl(processes, need, port, "/path") == b""
    assert double.wait().code == 0, double.describe()
    assert (shell.place / "request").read_bytes().startswith(b"GET /path HTTP/1.1\r\n")


def test_recipe_forward_unix(shell, processes):
    target = processes.listen("-k", "--echo", "unix:app.sock", cwd=shell.place)
    port = free_port()
    listening(shell(*lines("forward-unix"), [("8080", port)]))
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"through")
        assert client.recv(100) == b"through"
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b""
    assert target.popen.poll() is None


def test_recipe_forward_tls(shell, processes):
    authority = trustme.CA()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(shell.place / "cert.pem")
    target = processes.listen("-k", "--echo", "127.0.0.1:0")
    port = free_port()
    listening(shell(*lines("forward-tls"), [("127.0.0.1:8080", f"127.0.0.1:{target.port}"), ("8443", port)]))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        client.sendall(b"through")
        assert client.recv(100) == b"through"


def test_recipe_scan(shell):
    with socket.create_server(("127.0.0.1", 0)) as open_port:
        port = open_port.getsockname()[1]
        done = shell(*lines("scan"), [("192.0.2.0/30", "127.0.0.0/30"), ("8000-8100", port)]).finish()
    assert done.code == 0, done
    assert str(port).encode() in done.out


def test_recipe_scan_banner(shell):
    with server(lambda stream: stream.sendall(b"220 here\r\n")) as port:
        done = shell(*lines("scan-banner"), [("host", "127.0.0.1"), ("1-1024", port)]).finish()
    assert done.code == 0, done
    ports = [json.loads(line) for line in done.out.splitlines()]
    found = [(e["port"], e["state"], e["banner"]["text"]) for e in ports if e["event"] == "port"]
    assert found == [(port, "open", "220 here")]


def test_no_path_of_a_machine_is_named():
    assert not re.search(r"/(root|work|home)/", README)


def test_the_two_commands_are_each_on_one_line():
    commands = [line for line in README.splitlines() if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert all(Path(ROOT / part).exists() for part in ("tests/demo.py", "pyproject.toml"))
