"""The events of real runs against the schema that is shipped."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.cli.schema import check_event
from tests.harness import Processes


def events(text: str) -> list[str]:
    """The kinds; fails for a line that is no event as documented."""
    records = [json.loads(line) for line in text.splitlines()]
    for record in records:
        check_event(record)
    return [record["event"] for record in records]


def test_events_of_connect_and_listen(processes: Processes) -> None:
    listener = processes.listen("--json", "-vv", "127.0.0.1", "0")
    listener.close_stdin()
    done = processes.run("connect", "--json", "-vv", f"127.0.0.1:{listener.port}", input=b"hello")
    served = listener.wait()
    assert (done.code, served.code, served.out) == (0, 0, b"hello")
    assert {"connecting", "connected", "closed"} <= set(events(done.err))
    assert {"listening", "connected", "closed"} <= set(events(served.err))


def test_events_of_tls(processes: Processes) -> None:
    listener = processes.listen("--json", "--tls", "127.0.0.1", "0")
    listener.close_stdin()
    words = ("connect", "--json", "--tls", "--tls-insecure", f"127.0.0.1:{listener.port}")
    done = processes.run(*words, input=b"hello")
    served = listener.wait()
    assert (done.code, served.code) == (0, 0)
    assert "secured" in events(done.err)
    assert "secured" in events(served.err)


def test_events_of_a_transfer(processes: Processes, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * 100_000)
    receiver = processes.listen("--json", "127.0.0.1", "0", "-o", f"{tmp_path}/in/", command="recv")
    done = processes.run("send", "--json", f"127.0.0.1:{receiver.port}", str(source))
    served = receiver.wait()
    assert (done.code, served.code) == (0, 0)
    assert {"connected", "file", "closed", "summary"} <= set(events(done.err))
    assert {"listening", "connected", "file", "closed", "summary"} <= set(events(served.err))


def test_events_of_raw_bytes(processes: Processes, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * 100_000)
    receiver = processes.listen("--raw", "--json", "127.0.0.1", "0", "-o", f"{tmp_path}/in", command="recv")
    done = processes.run("send", "--raw", "--json", f"127.0.0.1:{receiver.port}", str(source))
    served = receiver.wait()
    assert (done.code, served.code) == (0, 0)
    for err, sent, received in ((done.err, 100_000, 0), (served.err, 0, 100_000)):
        assert events(err)[-3:] == ["connected", "closed", "summary"]
        closed = json.loads(err.splitlines()[-2])
        assert (closed["sent"], closed["received"], closed["reason"]) == (sent, received, "")


def test_events_of_a_scan(processes: Processes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = processes.run("scan", "--json", "127.0.0.1", "-p", str(port))
        assert (done.code, done.err) == (0, "")
        assert events(done.out.decode()) == ["port", "summary"]
        done = processes.run("scan", "--json", f"127.0.0.1:{port}", "--wait", "5s")
        assert done.code == 0
        assert "summary" in events(done.out.decode())


@pytest.mark.parametrize("words", [("connect", "127.0.0.1:1"), ("scan", "127.0.0.1:1", "--wait", "10ms")])
def test_failures_are_events(processes: Processes, words: tuple[str, ...]) -> None:
    done = processes.run(words[0], "--json", *words[1:])
    assert done.code in (1, 3)
    assert events(done.err)[-1] == "error"
