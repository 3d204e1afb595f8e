"""The Python API: what its documentation promises, from threads too, without printing or signal handlers."""

import doctest
import importlib.util
import signal
import socket
import subprocess
import sys
import threading

import pytest

import pync
import pync.api
import pync.connection
from tests.harness import ROOT


@pytest.fixture
def listener():
    with pync.listen("127.0.0.1:0", timeout=20.0) as it:
        yield it


@pytest.mark.parametrize("module", [pync.api, pync.connection])
def test_examples_of_the_documentation(module):
    outcome = doctest.testmod(module)
    assert outcome.attempted
    assert outcome.failed == 0


def test_everything_public_has_an_example():
    exceptions = {name for name in pync.__all__ if name.endswith(("Error", "TimedOut"))}
    public = set(pync.__all__) - exceptions - {"ExitCode", "__version__"}
    assert public == {
        "Connection",
        "Delivery",
        "Listener",
        "Port",
        "connect",
        "listen",
        "recv",
        "scan",
        "send",
    }
    assert {name for name in public if ">>> " not in getattr(pync, name).__doc__} == set()


def test_the_sample_program_works_and_says_nothing(processes, tmp_path):
    program = processes.spawn(sys.executable, "-m", "tests.typed_sample", tmp_path, cwd=ROOT)
    assert program.finish() == (0, b"", "")


def mypy(file, cache):
    """What `mypy --strict` says of a file."""
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    command = (sys.executable, "-m", "mypy", "--strict", "--cache-dir", cache, file)
    return subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True).stdout.splitlines()


def test_the_sample_program_is_typed(tmp_path):
    assert mypy("tests/typed_sample.py", tmp_path) == ["Success: no issues found in 1 source file"]


def test_wrong_use_is_found_by_types(tmp_path):
    wrong = {
        "pync.connect(80)": 'expected "str | Endpoint"',
        "pync.listen('9000').accept().send('text')": 'expected "bytes',
        "pync.scan('localhost')[0].state + 1": "Unsupported operand",
        "pync.recv('9000')": "Missing positional argument",
    }
    program = tmp_path / "wrong.py"
    program.write_text("\n".join(["import pync", *wrong]) + "\n")
    *errors, _ = mypy(program, tmp_path)
    assert len(errors) == len(wrong)
    for number, (error, words) in enumerate(zip(errors, wrong.values(), strict=True), start=2):
        assert f"wrong.py:{number}: error: " in error
        assert words in error


@pytest.mark.parametrize("where", ["127.0.0.1:0", "[::1]:0", "unix"])
def test_both_directions_and_half_close(where, tmp_path):
    path = tmp_path / "socket"
    with pync.listen(f"unix:{path}" if where == "unix" else where, timeout=20.0) as listener:
        there = f"unix:{path}" if where == "unix" else f"{where[:-1]}{listener.port}"
        with pync.connect(there, timeout=20.0) as client, listener.accept(20.0) as server:
            client.send(b"question")
            client.send_eof()
            assert server.read() == b"question"
            server.send(b"answer" * 1000)
            server.send_eof()
            assert client.read() == b"answer" * 1000


def test_datagrams_keep_their_boundaries():
    with (
        pync.listen("udp://127.0.0.1:0", timeout=20.0) as listener,
        pync.connect(f"udp://127.0.0.1:{listener.port}", timeout=20.0) as client,
    ):
        client.send(b"")
        client.send(b"x" * 65_507)
        with listener.accept(20.0) as server:
            assert server.recv() == b""
            assert server.recv() == b"x" * 65_507
            server.send(b"back")
        assert client.recv() == b"back"


def test_leaving_by_an_exception_resets_the_peer(listener):
    client = pync.connect(f"127.0.0.1:{listener.port}")
    server = listener.accept(20.0)
    client.send(b"half of it")
    client.__exit__(RuntimeError, RuntimeError(), None)
    with server, pytest.raises(pync.NetworkError, match="reset"):
        server.read()


def test_errors_carry_the_exit_status():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(pync.NetworkError) as refused:
            pync.connect(f"127.0.0.1:{taken.getsockname()[1]}")
        assert refused.value.code == 1
    with pytest.raises(pync.UsageError) as usage:
        pync.connect("no-port")
    assert usage.value.code == 2
    with pytest.raises(TypeError):
        pync.connect("127.0.0.1:1", no_such_option=1)


def test_timeouts_are_3(listener):
    with pytest.raises(pync.TimedOut) as nobody:
        listener.accept(0.05)
    assert nobody.value.code == 3
    with pync.connect(f"127.0.0.1:{listener.port}", timeout=0.05) as client, pytest.raises(pync.TimedOut):
        client.recv()


def test_a_closed_connection_says_so(listener):
    client = pync.connect(f"127.0.0.1:{listener.port}")
    client.close()
    client.close()
    with pytest.raises(pync.UsageError):
        client.send(b"x")


def test_connections_work_in_threads_of_their_own(listener):
    answers = []

    def serve():
        for _ in range(4):
            connection = listener.accept(20.0)
            threading.Thread(target=echo, args=(connection,), daemon=True).start()

    def echo(connection):
        with connection:
            for data in connection:
                connection.send(data)
            connection.send_eof()

    def ask(number):
        with pync.connect(f"127.0.0.1:{listener.port}", timeout=20.0) as client:
            client.send(b"%d" % number * 10_000)
            client.send_eof()
            answers.append(client.read() == b"%d" % number * 10_000)

    threads = [threading.Thread(target=serve), *(threading.Thread(target=ask, args=(n,)) for n in range(4))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert answers == [True] * 4


def test_send_and_recv(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"payload" * 1000)
    target.mkdir()
    port_file = tmp_path / "port"
    done = []
    receiver = threading.Thread(
        target=lambda: done.append(pync.recv("127.0.0.1:0", target, count=1, port_file=str(port_file)))
    )
    receiver.start()
    deadline = threading.Event()
    while not port_file.exists() and receiver.is_alive():
        deadline.wait(0.005)
    sent = pync.send(f"127.0.0.1:{port_file.read_text().strip()}", [source])
    receiver.join(20)
    assert (target / "source").read_bytes() == source.read_bytes()
    assert len(sent.files) == 1
    assert len(done[0].files) == 1


def test_scan_finds_what_is_open(listener):
    seen = []
    ports = pync.scan("127.0.0.1", str(listener.port), found=seen.append)
    assert [(port.port, port.state) for port in ports] == [(listener.port, "open")]
    assert seen == ports
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert pync.scan("127.0.0.1", str(closed.getsockname()[1])) == []


def test_no_signal_handler_is_touched_and_nothing_is_printed(listener, capfd):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pync.connect(f"127.0.0.1:{listener.port}") as client:
        client.send(b"x")
    pync.scan("127.0.0.1", str(listener.port))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert capfd.readouterr() == ("", "")


def test_importing_pync_imports_nothing_heavy():
    program = "import sys; before = set(sys.modules); import pync; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"pync", "__future__"}
