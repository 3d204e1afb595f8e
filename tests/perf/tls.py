"""TLS: bulk between two processes, handshakes a second, against ncat and socat."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from contextlib import ExitStack

from tests.harness import Process
from tests.perf import Bench, Row
from tests.perf.bench import LIMIT

SOCAT = ("socat", "-u", "-b", "1048576")
CLIENTS = 20  # at the same time
SESSIONS = 600  # of one run


def identity(bench: Bench) -> str:
    """One P-256 certificate and key for every server, made once: signing is not compared here."""
    path = bench.scratch / "identity.pem"
    if not path.exists():
        key, certificate = bench.scratch / "key.pem", bench.scratch / "cert.pem"
        words = ("-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3")
        names = ("-subj", "/CN=localhost", "-keyout", str(key), "-out", str(certificate))
        subprocess.run(("openssl", "req", *words, *names), check=True, capture_output=True)
        path.write_bytes(key.read_bytes() + certificate.read_bytes())
    return str(path)


def ncat_words(bench: Bench) -> tuple[str, ...]:
    pem = identity(bench)
    return ("--ssl", "--ssl-cert", pem, "--ssl-key", pem)


def bound(process: Process) -> Process:
    process.bound()
    return process


def bulk(
    server: Callable[[Bench], Process], client: Callable[[Bench, int], tuple[str, ...]]
) -> Callable[[Bench], float]:
    """Bytes a second from a file to /dev/null, start-up of the client included."""

    def run(bench: Bench) -> float:
        with ExitStack() as stack:
            listener = server(bench)
            stdin = stack.enter_context(bench.source().open("rb", buffering=0))
            begin = bench.now()
            words = client(bench, listener.port)
            sender = (
                bench.pync(*words[1:], stdin=stdin)
                if words[0] == "pync"
                else bench.spawn(*words, stdin=stdin)
            )
            bench.check(sender)
            if words[0] == "ncat":
                listener.wait(within=LIMIT)  # 1, because its client leaves without a close_notify
            else:
                bench.check(listener)
            return bench.size / (bench.now() - begin)

    return run


def ours(bench: Bench) -> Process:
    return bench.listen("--tls", "--tls-cert", identity(bench), "127.0.0.1", "0")


def our_client(bench: Bench, port: int) -> tuple[str, ...]:
    return ("pync", "connect", "-q", "--tls", "--tls-insecure", "127.0.0.1", str(port))


def ncat(bench: Bench) -> Process:
    words = ("ncat", "-4", "--recv-only", "-l", *ncat_words(bench), "127.0.0.1", "0")
    return bound(bench.spawn(*words))


def ncat_client(bench: Bench, port: int) -> tuple[str, ...]:
    return ("ncat", "--ssl", "--send-only", "127.0.0.1", str(port))


def socat(bench: Bench) -> Process:
    address = f"OPENSSL-LISTEN:0,bind=127.0.0.1,cert={identity(bench)},verify=0"
    return bound(bench.spawn(*SOCAT, address, "STDOUT"))


def socat_client(bench: Bench, port: int) -> tuple[str, ...]:
    return (*SOCAT, "STDIN", f"OPENSSL:127.0.0.1:{port},verify=0")


def handshakes(server: Callable[[Bench], Process]) -> Callable[[Bench], float]:
    """Sessions a second: connect, handshake, one byte there and back, close."""

    def run(bench: Bench) -> float:
        port = server(bench).port
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        left = threading.Semaphore(SESSIONS)
        failures: list[BaseException] = []

        def client() -> None:
            try:
                while left.acquire(blocking=False):
                    raw = socket.create_connection(("127.0.0.1", port), 20)
                    with context.wrap_socket(raw) as sock:
                        sock.sendall(b"x")
                        assert sock.recv(1) == b"x"
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
        begin = bench.now()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = bench.now() - begin
        assert not failures, failures[0]
        return SESSIONS / seconds

    return run


def our_echo(bench: Bench) -> Process:
    return bench.listen("-k", "--tls", "--tls-cert", identity(bench), "--echo", "127.0.0.1", "0")


def ncat_echo(bench: Bench) -> Process:
    return bound(bench.spawn("ncat", "-4", "-lk", *ncat_words(bench), "-e", "/bin/cat", "127.0.0.1", "0"))


NEEDS = ("openssl", "ncat")

ROWS = [
    Row(
        "tls.bulk-ncat",
        "TLS, file -> /dev/null",
        bulk(ours, our_client),
        {"ncat --ssl": bulk(ncat, ncat_client)},
        goal=1.4,
        needs=NEEDS,
    ),
    Row(
        "tls.bulk-socat",
        "TLS, file -> /dev/null",
        bulk(ours, our_client),
        {"socat": bulk(socat, socat_client)},
        needs=("openssl", "socat"),
    ),
    Row(
        "tls.handshakes",
        f"TLS sessions, {CLIENTS} clients at a time",
        handshakes(our_echo),
        {"ncat -e /bin/cat": handshakes(ncat_echo)},
        goal=1.5,
        unit="/s",
        needs=NEEDS,
    ),
]
