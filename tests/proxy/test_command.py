"""`--proxy` on the command line: exit codes, lines, and where a password must not show."""

import json
from pathlib import Path

import pytest

from tests.harness import Processes
from tests.proxy.servers import HttpProxy, Server, SocksProxy, echo, says


def test_a_password_disappears_from_the_process_list(processes: Processes) -> None:
    with Server(says(hold=True)) as proxy:
        process = processes.pync(
            "connect", "-vv", "--proxy", f"http://u:hidden%20word@{proxy.place}", "h", "1"
        )
        process.until(lambda: proxy.accepted, "reaching the proxy")
        arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert b"hidden" not in arguments
        assert proxy.place.encode() in arguments


@pytest.mark.parametrize("userinfo", ["u:hush-hush@", ":hush-hush@"])
def test_no_output_has_the_password(processes: Processes, userinfo: str) -> None:
    with Server(echo) as target, Server(HttpProxy("digest", login=("u", "hush-hush"))) as proxy:
        words = ("connect", "--json", "-vv", "--proxy", f"http://{userinfo}{proxy.place}", "127.0.0.1")
        done = processes.run(*words, str(target.port), input=b"x")
    assert "hush" not in done.err
    events = [json.loads(line) for line in done.err.splitlines()]
    assert any(event.get("proxy") == f"http://{proxy.place}" for event in events)
    assert done.code == (0 if userinfo[0] == "u" else 4), done.err


def test_python_errors_of_an_option_do_not_show_it(processes: Processes) -> None:
    for url in ("gopher://u:hush-hush@p:1", "http://u:hush-hush@p:99999", "http://u:hush-hush@"):
        done = processes.run("connect", "--proxy", url, "h", "1")
        assert done.code == 2, done.err
        assert "hush-hush" not in done.err


def test_a_timeout_is_exit_3_and_names_the_proxy(processes: Processes) -> None:
    with Server(says(hold=True)) as proxy:
        done = processes.run("connect", "-w", "300ms", "--proxy", f"socks5://{proxy.place}", "192.0.2.1", "1")
    assert done.code == 3
    assert proxy.place in done.err
    assert len(done.err.splitlines()) == 1


def test_with_a_source_port(processes: Processes) -> None:
    with Server(echo) as target, Server(SocksProxy()) as proxy:
        words = ("connect", "--source", "127.0.0.1", "--proxy", f"socks4a://{proxy.place}", "localhost")
        done = processes.run(*words, str(target.port), input=b"hello")
    assert (done.code, done.out) == (0, b"hello"), done.err


def test_udp_and_a_proxy_is_a_usage_error(processes: Processes) -> None:
    done = processes.run("connect", "-u", "--proxy", "socks5://127.0.0.1:1", "127.0.0.1", "9")
    assert done.code == 2
    assert "Traceback" not in done.err
