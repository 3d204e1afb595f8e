"""The README's table of what others do, asked of the programs that are here."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import subprocess
import threading
from pathlib import Path

import pytest

from tests.harness import PATIENCE, PYNC, ROOT, free_port, pattern

CLIENTS = {
    "pync": (*PYNC, "connect", "127.0.0.1", "PORT"),
    "nc.openbsd": ("nc.openbsd", "127.0.0.1", "PORT"),
    "ncat": ("ncat", "127.0.0.1", "PORT"),
    "socat": ("socat", "-", "TCP:127.0.0.1:PORT"),
}
DATA = pattern(1000)


def against_server(processes, need, name, *, reset, **options):
    """The client after a server sent it 1000 bytes and then closed or reset the connection."""
    if name != "pync":
        need(name)
    read = threading.Event()

    def serve():
        client, _ = server.accept()
        with client:
            client.sendall(DATA)
            if reset:
                read.wait(PATIENCE)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        thread = threading.Thread(target=serve)
        thread.start()
        port = str(server.getsockname()[1])
        words = [port if word == "PORT" else word.replace("PORT", port) for word in CLIENTS[name]]
        process = processes.spawn(*words, stdin=subprocess.DEVNULL, **options)
        if reset:
            process.expect_bytes(len(DATA))
            read.set()
        done = process.wait()
        thread.join()
    return done


README = (ROOT / "README.md").read_text()
COLUMNS = ("pync", "nc.openbsd", "ncat", "socat", "croc", "nmap")


def cells(start):
    """Program -> what the README's table says about it in the row that starts so."""
    row = next(line for line in README.splitlines() if line.startswith(f"| {start}"))
    return dict(zip(COLUMNS, (cell.strip() for cell in row.split("|")[2:-1]), strict=True))


def run(*words):
    """All that a short run of another program says."""
    done = subprocess.run(words, check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE)
    return (done.stdout + done.stderr).decode(errors="replace")


@pytest.mark.parametrize("name", CLIENTS)
def test_a_reset_by_the_peer(processes, need, name):
    code = int(cells("a reset by the peer")[name])
    assert against_server(processes, need, name, reset=True)[:2] == (code, DATA)


@pytest.mark.parametrize("name", CLIENTS)
def test_a_full_disk_behind_stdout(processes, need, name):
    code = int(cells("a full disk")[name])
    with open("/dev/full", "wb") as full:
        assert against_server(processes, need, name, reset=False, stdout=full).code == code


HELP = {
    "nc.openbsd": ("nc.openbsd", "-h"),
    "ncat": ("ncat", "--help"),
    "socat": ("socat", "-hhh"),
    "nmap": ("nmap", "--help"),
}


@pytest.mark.parametrize(
    ("row", "name", "cell", "words"),
    [
        ("pipes over", "nc.openbsd", "yes", r"-U\s+Use UNIX domain socket\s+-u\s+UDP mode"),
        ("pipes over", "ncat", "yes", r"(?s)--unixsock.*--udp "),
        ("pipes over", "socat", "yes", r"(?s)tcp-connect:.*udp-connect:.*unix-connect:"),
        ("TLS", "ncat", "yes", r"--ssl "),
        ("TLS", "socat", "yes", r"openssl-listen:"),
        ("chat room", "ncat", "yes", r"(?s)--broker .*--chat "),
        ("port scan", "nc.openbsd", "`-z`", r"(?s)-z\s+Zero-I/O mode \[used for scanning\].*or ranges"),
        ("port scan", "ncat", "`-z`, one port", r"-z\s+Zero-I/O mode"),
        ("port scan", "nmap", "all kinds", r"(?s)-sS/sT/sA/sW/sM.*-sU: UDP Scan"),
        ("proxies", "nc.openbsd", "one SOCKS or HTTP", r'Proxy protocol: "4", "5" \(SOCKS\) or "connect"'),
        ("proxies", "ncat", "one SOCKS or HTTP", r'proxy type \("http", "socks4", "socks5"\)'),
        ("proxies", "socat", "one SOCKS4 or HTTP", r"(?s)proxy:<proxy-server>:.*socks4a:<socks-server>:"),
        ("proxies", "nmap", "chains of SOCKS4 and HTTP", r"--proxies <url1,\[url2\],...>.*HTTP/SOCKS4"),
        ("output for", "nmap", "XML", r"-oN/-oX/"),
        ("raw IP", "nc.openbsd", "DCCP", r"-Z\s+DCCP mode"),
        ("raw IP", "ncat", "SCTP", r"--sctp "),
        ("raw IP", "socat", "yes", r"(?s)ip-sendto:.*pty.*sctp-connect:.*b115200"),
        ("raw IP", "nmap", "raw IP, SCTP", r"(?s)IP Protocol Ping.*SCTP INIT"),
    ],
)
def test_what_a_program_can_do_is_in_its_help(need, row, name, cell, words):
    need(name)
    assert cells(row)[name] == cell
    assert re.search(words, run(*HELP[name]))


@pytest.mark.parametrize(
    ("row", "name", "words"),
    [
        ("TLS", "nc.openbsd", r"(?i)\b(tls|ssl)\b"),
        ("chat room", "nc.openbsd", r"(?i)broker|chat"),
        ("chat room", "socat", r"(?i)broker|chat"),
        ("verified", "nc.openbsd", r"(?i)resume|digest|checksum|hash"),
        ("verified", "ncat", r"(?i)resume|digest|checksum|hash"),
        ("verified", "socat", r"(?i)resume|digest|checksum|\bhash"),
        ("wait for", "nc.openbsd", r"(?i)retry"),
        ("wait for", "ncat", r"(?i)retry"),
        ("output for", "nc.openbsd", r"(?i)json|xml"),
        ("output for", "ncat", r"(?i)json|xml"),
        ("output for", "socat", r"(?i)json|xml"),
        ("through two", "nc.openbsd", r"(?i)\b(relay|stun|nat)\b"),
        ("through two", "ncat", r"(?i)\b(relay|stun|nat)\b"),
        ("through two", "socat", r"(?i)\b(stun|nat)\b"),
    ],
)
def test_what_a_program_cannot_do_is_not_in_its_help(need, row, name, words):
    need(name)
    assert cells(row)[name] == "no"
    assert not re.search(words, run(*HELP[name]))


@pytest.mark.parametrize("name", ["nc.openbsd", "ncat", "socat"])
def test_no_zero_copy_in_a_program_that_does_not_name_its_system_calls(need, name):
    assert cells("zero-copy")[name] == "no"
    program = Path(need(name)).resolve().read_bytes()
    assert b"connect" in program
    assert not re.search(rb"\0(sendfile|splice)(64)?\0", program)


def test_ncat_takes_one_port(need):
    assert cells("port scan")["ncat"] == "`-z`, one port"
    assert "more than one port" in run(need("ncat"), "-z", "127.0.0.1", "1", "2")
    assert "Invalid port" in run(need("ncat"), "-z", "127.0.0.1", "1-2")


def test_nc_serves_one_after_the_other(processes, need):
    assert cells("clients at the same time")["nc.openbsd"] == "1"
    port = free_port()
    server = processes.spawn(need("nc.openbsd"), "-lk", "127.0.0.1", str(port))
    server.bound()
    with socket.create_connection(("127.0.0.1", port)) as first:
        first.sendall(b"first ")
        server.expect_out("first ")
        with socket.create_connection(("127.0.0.1", port)) as second:
            second.sendall(b"second ")
            first.sendall(b"again ")
            server.expect_out("again ")
            assert server.out == b"first again "
            first.close()
            server.expect_out("second ")


def test_socat_forks_for_each(processes, need):
    assert cells("clients at the same time")["socat"] == "a process each"
    server = processes.spawn(need("socat"), "TCP-LISTEN:0,fork,bind=127.0.0.1", "PIPE")
    port = server.bound()
    with contextlib.ExitStack() as clients:
        for _ in range(3):
            client = clients.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE))
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        assert len(server.children()) == 3


def test_socat_can_wait_for_a_service(processes, need):
    assert cells("wait for a service")["socat"] == "`retry=`"
    port = free_port()
    words = ("-d", "-d", "-d", "-", f"TCP:127.0.0.1:{port},retry=200,interval=0.1")
    client = processes.spawn(need("socat"), *words, stdin=subprocess.DEVNULL)
    client.expect("refused.*refused")
    with socket.create_server(("127.0.0.1", port)) as server:
        server.settimeout(PATIENCE)
        server.accept()[0].close()
    assert client.wait().code == 0
