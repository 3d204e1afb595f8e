"""`pync connect` through proxies that others wrote."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import Finished, Process, Processes, free_port
from tests.proxy.servers import Server, echo

Need = Callable[[str], str]
DATA = bytes(range(256)) * 2000


def through(processes: Processes, url: str, *options: str) -> Finished:
    """The echo's answer. Our end comes after it, because some proxies take one side's end for both."""
    with Server(echo) as target:
        process = processes.pync("connect", "--proxy", url, *options, "127.0.0.1", str(target.port))
        try:
            process.write(DATA)
        except BrokenPipeError:
            return process.wait()
        process.until(lambda: len(process.out) == len(DATA) or process.ends(0.01), "the answer")
        return process.finish()


def microsocks(processes: Processes, need: Need, *options: str) -> int:
    process = processes.spawn(need("microsocks"), "-i", "127.0.0.1", "-p", "0", *options)
    return process.bound()


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_microsocks(processes: Processes, need: Need, scheme: str) -> None:
    done = through(processes, f"{scheme}://127.0.0.1:{microsocks(processes, need)}")
    assert (done.code, done.out) == (0, DATA), done.err


def test_microsocks_with_a_password(processes: Processes, need: Need) -> None:
    port = microsocks(processes, need, "-u", "me", "-P", "p@ss")
    assert through(processes, f"socks5://me:p%40ss@127.0.0.1:{port}").out == DATA
    for userinfo in ("me:wrong-secret@", ""):
        done = through(processes, f"socks5://{userinfo}127.0.0.1:{port}")
        assert done.code == 4, done.err
        assert "wrong-secret" not in done.err


def tinyproxy(processes: Processes, need: Need, scratch: Path, *lines: str) -> int:
    port = free_port()
    config = scratch / "tinyproxy.conf"
    words = [f"Port {port}", "Listen 127.0.0.1", "Timeout 20", "MaxClients 10", "LogLevel Error", *lines]
    config.write_text("\n".join(words) + "\n")
    processes.spawn(need("tinyproxy"), "-d", "-c", str(config)).bound()
    return port


def test_tinyproxy(processes: Processes, need: Need, tmp_path: Path) -> None:
    done = through(processes, f"http://127.0.0.1:{tinyproxy(processes, need, tmp_path)}")
    assert (done.code, done.out) == (0, DATA), done.err


def test_tinyproxy_with_a_password(processes: Processes, need: Need, tmp_path: Path) -> None:
    port = tinyproxy(processes, need, tmp_path, "BasicAuth me pass")
    assert through(processes, f"http://me:pass@127.0.0.1:{port}").out == DATA
    done = through(processes, f"http://me:wrong-secret@127.0.0.1:{port}", "-vv")
    assert done.code == 4, done.err
    assert "wrong-secret" not in done.err


def test_tinyproxy_forbids_a_port(processes: Processes, need: Need, tmp_path: Path) -> None:
    done = through(processes, f"http://127.0.0.1:{tinyproxy(processes, need, tmp_path, 'ConnectPort 443')}")
    assert done.code == 1, done.err
    assert "403" in done.err


def dante(processes: Processes, need: Need, scratch: Path) -> int:
    port = free_port()
    config = scratch / "danted.conf"
    config.write_text(
        f"logoutput: stderr\ninternal: 127.0.0.1 port = {port}\nexternal: 127.0.0.1\n"
        "clientmethod: none\nsocksmethod: none\nuser.privileged: root\nuser.unprivileged: root\n"
        "client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }\nsocks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }\n"
    )
    process: Process = processes.spawn(need("danted"), "-f", str(config), "-p", str(scratch / "danted.pid"))
    process.bound()
    return port


@pytest.mark.parametrize("scheme", ["socks4", "socks5", "socks5h"])
def test_dante(processes: Processes, need: Need, tmp_path: Path, scheme: str) -> None:
    done = through(processes, f"{scheme}://127.0.0.1:{dante(processes, need, tmp_path)}")
    assert (done.code, done.out) == (0, DATA), done.err


def test_ncat_as_a_proxy(processes: Processes, need: Need) -> None:
    words = ("-4", "-l", "-k", "--proxy-type", "http", "--proxy-auth", "u:p", "127.0.0.1", "0")
    port = processes.spawn(need("ncat"), *words).bound()
    done = through(processes, f"http://u:p@127.0.0.1:{port}")
    assert (done.code, done.out) == (0, DATA), done.err
    assert through(processes, f"http://u:wrong-secret@127.0.0.1:{port}").code == 4


def test_a_chain_of_two_programs(processes: Processes, need: Need, tmp_path: Path) -> None:
    first = microsocks(processes, need)
    second = tinyproxy(processes, need, tmp_path)
    done = through(processes, f"socks5://127.0.0.1:{first}", "--proxy", f"http://127.0.0.1:{second}")
    assert (done.code, done.out) == (0, DATA), done.err
