"""`--proxy` on the command line: exit codes, lines, and where a password must not show."""

import json
import ssl
from pathlib import Path

import pytest
import trustme

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


@pytest.mark.parametrize("scheme", ["http", "socks5", "https"])
def test_a_silent_proxy_is_idle(processes: Processes, scheme: str) -> None:
    with Server(says(hold=True)) as proxy:
        done = processes.run("connect", "-i", "300ms", "--proxy", f"{scheme}://{proxy.place}", "192.0.2.1:1")
    assert done.code == 3
    assert proxy.place in done.err
    assert len(done.err.splitlines()) == 1


def test_with_a_source_port(processes: Processes) -> None:
    with Server(echo) as target, Server(SocksProxy()) as proxy:
        words = ("connect", "--source", "127.0.0.1", "--proxy", f"socks4a://{proxy.place}", "localhost")
        done = processes.run(*words, str(target.port), input=b"hello")
    assert (done.code, done.out) == (0, b"hello"), done.err


@pytest.mark.parametrize("role", ["connect", "listen"])
@pytest.mark.parametrize("trusted", ["--tls-ca", "--tls-insecure", ""])
def test_the_trust_that_was_asked_for_is_the_proxys_too(
    processes: Processes, tmp_path: Path, role: str, trusted: str
) -> None:
    """Also where no TLS goes through it."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(f"{tmp_path}/ca.pem")
    trust = [trusted, f"{tmp_path}/ca.pem"][: {"--tls-ca": 2, "--tls-insecure": 1, "": 0}[trusted]]
    with Server(echo) as target, Server(HttpProxy(), tls=context) as proxy:
        words = ("--json", *trust, "--proxy", f"https://{proxy.place}")
        if role == "connect":
            done = processes.run("connect", *words, target.place, input=b"hello")
        else:
            listener = processes.listen(*words, "--forward", target.place, "127.0.0.1", "0")
            client = processes.run("connect", f"127.0.0.1:{listener.port}", input=b"hello")
            done = listener.wait()._replace(out=client.out)
    assert (done.code, done.out) == ((0, b"hello") if trusted else (4, b"")), done.err
    secured = [event for event in map(json.loads, done.err.splitlines()) if event["event"] == "secured"]
    assert [event["proxy"] for event in secured] == [f"https://{proxy.place}"] * bool(trusted)
    assert [event["verified"] for event in secured] == [trusted == "--tls-ca"] * bool(trusted)
    assert ("was not verified" in done.err) == (trusted == "--tls-insecure")


def test_what_is_not_verified_is_said_once(processes: Processes) -> None:
    """A proxy that wants a password, and closes when it says so, is connected to twice."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with Server(echo) as target, Server(HttpProxy("basic", lasting=False), tls=context) as proxy:
        words = ("--tls-insecure", "--proxy", f"https://u:p@{proxy.place}", target.place)
        done = processes.run("connect", *words, input=b"hello")
        assert proxy.accepted == 2
    assert (done.code, done.out) == (0, b"hello"), done.err
    assert done.err.count("warning: ") == done.err.count("secured: ") == 1


def test_udp_and_a_proxy_is_a_usage_error(processes: Processes) -> None:
    done = processes.run("connect", "-u", "--proxy", "socks5://127.0.0.1:1", "127.0.0.1", "9")
    assert done.code == 2
    assert "Traceback" not in done.err
