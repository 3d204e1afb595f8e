"""What only connect has (CLI contract 4), and how it finds an address (2)."""

import socket
import ssl
import subprocess
import threading
import time

import pytest
import trustme

from tests.e2e.sessions import accept_from, one_line, read_exactly, read_to_end
from tests.harness import PATIENCE, PYNC, free_port

# -z


def test_zero_reports_an_open_port(sessions):
    listener, words = sessions.listener()
    done = sessions.processes.run("connect", "-z", "-v", *words)
    assert (done.code, done.out) == (0, b"")
    assert words[0] in done.err
    accepted = sessions.keep(listener.accept()[0])
    assert read_to_end(accepted) == b""


def test_zero_is_1_when_refused(processes):
    done = processes.run("connect", "-z", f"127.0.0.1:{free_port()}")
    assert done.code == 1
    assert "refused" in one_line(done.err)


def test_zero_does_not_read_stdin(sessions, tmp_path):
    (tmp_path / "source").write_bytes(b"left alone")
    with (tmp_path / "source").open("rb") as stdin:
        assert sessions.processes.run("connect", "-z", *sessions.nobody(), stdin=stdin).code == 0
        assert stdin.read() == b"left alone"


def test_zero_takes_leave_of_a_tls_server(sessions):
    """It must not look like a stream that was cut."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0  # sent to one who left already, they would be answered with a reset
    authority.issue_cert("127.0.0.1").configure_cert(context)
    listener, words = sessions.listener()
    process = sessions.processes.pync("connect", "-z", "--tls-insecure", f"tls://{words[0]}")
    peer = accept_from(process, listener)
    with context.wrap_socket(peer, server_side=True, suppress_ragged_eofs=False) as secured:
        secured.settimeout(PATIENCE)
        assert secured.recv(1) == b""
    assert process.wait().code == 0


# --retry


def start_later(port, seconds):
    """A listener on `port` that appears after a while and answers once."""

    def serve():
        with socket.create_server(("127.0.0.1", port)) as listener:
            listener.settimeout(PATIENCE)
            peer, _ = listener.accept()
            with peer:
                peer.sendall(b"up now")

    timer = threading.Timer(seconds, serve)
    timer.start()
    return timer


@pytest.mark.parametrize("options", [("--retry-for", "20s"), ("--retry", "100"), ("--retry-for", "20")])
def test_retry_until_the_listener_is_there(processes, options):
    port = free_port()
    serving = start_later(port, 0.4)
    done = processes.run("connect", *options, "--retry-delay", "20ms", f"127.0.0.1:{port}")
    serving.join()
    assert (done.code, done.out) == (0, b"up now")


def test_retry_counts_its_tries(processes):
    start = time.monotonic()
    done = processes.run("connect", "--retry", "2", "--retry-delay", "100ms", f"127.0.0.1:{free_port()}")
    assert done.code == 1
    assert "refused" in one_line(done.err)
    assert 0.2 <= time.monotonic() - start < 5


def test_no_retry_for_what_will_not_change(processes):
    start = time.monotonic()
    assert processes.run("connect", "--retry-for", "1h", "127.0.0.1:no-such-service").code == 2
    assert time.monotonic() - start < 10


def test_retry_waits_for_a_unix_socket(sessions, tmp_path):
    path = tmp_path / "later.sock"
    process = sessions.processes.pync(
        "connect", "--retry-for", "20s", "--retry-delay", "20ms", f"unix:{path}", "-v"
    )
    assert not process.ends(0.2)
    listener = sessions.keep(socket.socket(socket.AF_UNIX))
    listener.bind(str(path))
    listener.listen()
    accept_from(process, listener).close()
    assert process.finish().code == 0


# -t

IAC, DONT, DO, WONT, WILL = 255, 254, 253, 252, 251


def test_telnet_answers_and_keeps_it_off_stdout(sessions):
    process, peer = sessions.connect("-t")
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer.sendall(bytes((IAC, DO)))
    peer.sendall(bytes((24, IAC)))
    peer.sendall(bytes((WILL, 1)) + b"log" + bytes((IAC, IAC)) + b"in:\r\0")
    assert read_exactly(peer, 6) == bytes((IAC, WONT, 24, IAC, DONT, 1))
    assert process.expect_bytes(8) == b"log\xffin:\r"
    process.write(b"a\xffb\n")
    assert read_exactly(peer, 5) == b"a\xff\xffb\n"
    peer.close()
    assert process.finish().code == 0


def test_telnet_answers_still_go_out_after_our_input_ended(sessions):
    """`pync connect -t host 23 </dev/null`: there is no answer after our FIN, and no failure either."""
    process, peer = sessions.connect("-t", stdin=subprocess.DEVNULL)
    peer.sendall(bytes((IAC, DO, 24)) + b"text")
    peer.shutdown(socket.SHUT_WR)
    read_to_end(peer)
    assert process.wait()[:2] == (0, b"text")


# addresses


def test_the_next_address_is_tried_when_one_refuses(sessions, ipv6):
    """localhost is ::1 and 127.0.0.1, and only one of them listens."""
    if len({address[4][0] for address in socket.getaddrinfo("localhost", 1)}) < 2:
        pytest.skip("localhost has one address here")
    for host in ("127.0.0.1", "::1"):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = sessions.keep(socket.create_server((host, 0), family=family))
        done = sessions.processes.run("connect", "-z", f"localhost:{listener.getsockname()[1]}")
        assert done.code == 0, (host, done)


def test_all_addresses_refused_is_one_line(processes):
    done = processes.run("connect", f"localhost:{free_port()}")
    assert done.code == 1
    assert "refused" in one_line(done.err)


def swallow(host, address):
    """Make packets for `address` go out to nobody: no answer, no error."""
    host.run("ip", "neigh", "add", address, "lladdr", "02:00:00:00:00:99", "dev", host.device)


def test_connect_timeout_is_3(hosts, processes):
    here, there = hosts
    swallow(here, there.ipv4)
    start = time.monotonic()
    done = processes.run("connect", "-w", "400ms", f"{there.ipv4}:9", host=here)
    assert done.code == 3
    assert "time" in one_line(done.err)
    assert 0.4 <= time.monotonic() - start < 5


def test_host_unreachable_is_1(hosts, processes):
    here, _ = hosts
    done = processes.run("connect", f"{here.ipv4[:-1]}77:9", host=here)  # nobody answers the ARP request
    assert done.code == 1
    one_line(done.err)


def test_network_unreachable_is_1(hosts, processes):
    done = processes.run("connect", "192.0.2.1:9", host=hosts[0])
    assert done.code == 1
    assert "unreachable" in one_line(done.err)


def test_one_address_of_twenty_answers(hosts, processes, tmp_path):
    """The others swallow packets; Happy Eyeballs moves on without waiting for each."""
    here, there = hosts
    listener = processes.listen("-k", "--discard", f"{there.ipv4}", "0", host=there)
    dead = [f"10.99.0.{n}" for n in range(100, 119)]
    for address in dead:
        swallow(here, address)
    names = tmp_path / "hosts"
    names.write_text("".join(f"{address} many.test\n" for address in [*dead, there.ipv4]))
    start = time.monotonic()
    process = processes.spawn(
        *("unshare", "-m", "sh", "-c"),
        'mount --bind "$0" /etc/hosts && exec "$@"',
        names,
        *(*PYNC, "connect", "-z", "-w", "20s", f"many.test:{listener.port}"),
        host=here,
    )
    done = process.finish()
    assert done.code == 0, done
    assert time.monotonic() - start < 15
