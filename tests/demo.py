"""What pync is for, done once on this checkout: `python -m tests.demo`.

Sends the source tree with `pync send`, compares what arrived, pipes 256 MiB through `listen` and `connect`,
and shows that a failure has its exit status. Ends with 0 only if all of it went well.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.harness import ROOT, Process, Processes, free_port

PIECE = "pync"
BULK = 256 << 20


def say(line: str) -> None:
    print(line, flush=True)


def ended(process: Process, code: int = 0) -> str:
    done = process.wait(within=120)
    if done.code != code:
        sys.exit(f"exit {done.code}, expected {code}: {process.describe()}")
    return done.err.strip()


def tree(top: Path) -> dict[str, str]:
    """Relative path -> digest of every file below, compiled ones aside."""
    return {
        path.relative_to(top).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(top.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def transfer(processes: Processes, inbox: Path) -> None:
    receiver = processes.listen("127.0.0.1:0", "-o", f"{inbox}/", command="recv")
    say("$ pync recv 9000 -o inbox/ &")
    say(f"$ pync send 127.0.0.1 9000 {PIECE} README.md --exclude __pycache__ -v")
    names = (PIECE, "README.md", "--exclude", "__pycache__", "-v")
    sender = processes.pync("send", "127.0.0.1", str(receiver.port), *names, cwd=ROOT)
    say(ended(sender).splitlines()[-1])
    ended(receiver)
    sent, arrived = tree(ROOT / PIECE), tree(inbox / PIECE)
    if sent != arrived or (inbox / "README.md").read_bytes() != (ROOT / "README.md").read_bytes():
        sys.exit("the copy differs")
    say(f"=> {len(sent) + 1} files, compared byte for byte: identical; both exit statuses 0\n")


def pipe(processes: Processes, scratch: Path) -> None:
    source, sink = scratch / "source", scratch / "sink"
    digest = hashlib.sha256()
    with source.open("wb") as file:
        for _ in range(BULK >> 20):
            block = os.urandom(1 << 20)
            digest.update(block)
            file.write(block)
    say("$ pync listen 9000 > sink &")
    say("$ pync connect 127.0.0.1 9000 < source")
    with source.open("rb") as stdin, sink.open("wb") as stdout:
        listener = processes.listen("127.0.0.1:0", stdout=stdout)
        listener.close_stdin()
        begin = time.perf_counter()
        client = processes.pync("connect", "127.0.0.1", str(listener.port), stdin=stdin)
        ended(client)
        ended(listener)
    seconds = time.perf_counter() - begin
    with sink.open("rb") as file:
        if hashlib.file_digest(file, "sha256").digest() != digest.digest():
            sys.exit("the copy differs")
    say(f"=> {BULK >> 20} MiB in {seconds:.2f} s, the same SHA-256 at both ends; both exit statuses 0\n")


def failure(processes: Processes) -> None:
    port = free_port()
    say("$ pync connect 127.0.0.1 9000; echo $?      # nobody listens any more")
    words = ended(processes.pync("connect", "127.0.0.1", str(port)), code=1)
    say(words.replace(str(port), "9000"))
    say("1")


def main() -> None:
    parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="pync-demo-", dir=parent) as name:
        scratch = Path(name)
        (scratch / "inbox").mkdir()
        with Processes(scratch) as processes:
            transfer(processes, scratch / "inbox")
            pipe(processes, scratch)
            failure(processes)


if __name__ == "__main__":
    main()
