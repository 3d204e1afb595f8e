"""A program that uses all of the Python API as its users would: run by a test, and read by mypy --strict.

`python -m tests.typed_sample FOLDER` ends with 0 once everything went as it should.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pync


def echo(listener: pync.Listener, clients: int) -> None:
    """Serve so many clients, one after another."""
    for _ in range(clients):
        with listener.accept(timeout=20.0) as connection:
            for data in connection:
                connection.send(data)


def ask(port: int, question: bytes) -> bytes:
    with pync.connect(f"127.0.0.1:{port}", timeout=20.0, nodelay=True) as connection:
        connection.send(question)
        connection.send_eof()
        return connection.read()


def deliver(folder: Path) -> pync.Delivery:
    """One file from here to here; both ends give an account of it."""
    (folder / "letter.txt").write_text("hello")
    (folder / "inbox").mkdir()
    meet, received = f"unix:{folder}/meet", list[pync.Delivery]()
    receiver = threading.Thread(target=lambda: received.append(pync.recv(meet, folder / "inbox")))
    receiver.start()
    sent = pync.send(meet, folder / "letter.txt", retry_for=20.0)
    receiver.join(20.0)
    assert [file["status"] for file in received[0].files] == ["ok"]
    return sent


def open_ports(port: int) -> list[int]:
    seen: list[pync.Port] = []
    found = pync.scan("127.0.0.1", port, found=seen.append, timeout=20.0)
    assert found == seen
    return [result.port for result in found if result.state == "open"]


def refused(port: int) -> pync.ExitCode:
    try:
        pync.connect(f"127.0.0.1:{port}", timeout=20.0).close()
    except pync.PyncError as error:
        return error.code
    return pync.ExitCode.OK


def main(folder: Path) -> int:
    with pync.listen("127.0.0.1:0", timeout=20.0) as listener:
        port = listener.port
        server = threading.Thread(target=echo, args=(listener, 2))
        server.start()
        answers = [ask(port, question) for question in (b"one", b"two")]
        server.join(20.0)
        ports = open_ports(port)
    sent = deliver(folder)
    right = answers == [b"one", b"two"] and ports == [port] and sent.summary["files"] == 1
    return 0 if right and refused(port) == pync.ExitCode.NETWORK else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
