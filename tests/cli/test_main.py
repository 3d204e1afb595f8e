"""The entry: what becomes of the process, whatever the command does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import pytest

# Runs pync with a command that does BODY instead of what it should.
PROGRAM = """
import os, signal, sys, types
from pync.errors import *
def execute(command, options, report, **rest):
{body}
stub = types.ModuleType("pync.commands.session")
stub.execute = execute
sys.modules["pync.commands.session"] = stub
from pync.__main__ import main
sys.argv = ["pync", *{words!r}]
sys.exit(main())
"""


def run(body: str, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    indented = "\n".join(f"    {line}" for line in body.splitlines())
    program = PROGRAM.format(body=indented, words=words or ("connect", "h", "9"))
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False, **more
    )


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ("return 0", 0, ""),
        ("return ExitCode.PARTIAL", 5, ""),
        ("raise NetworkError('connect h:9: refused')", 1, "pync: connect h:9: refused\n"),
        ("raise UsageError('no', hint='yes')", 2, "pync: no\nhint: yes\n"),
        ("raise TimedOut('late')", 3, "pync: late\n"),
        ("raise IntegrityError('bad')", 4, "pync: bad\n"),
        ("raise MemoryError", 2, "pync: out of memory\n"),
    ],
)
def test_status_and_one_line(body: str, status: int, said: str) -> None:
    done = run(body)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", said)


@pytest.mark.parametrize("body", ["1 / 0", "def f(): f()\nf()", "raise OSError(5, 'x')"])
def test_a_bug_is_70_with_a_traceback_and_a_request(body: str) -> None:
    done = run(body)
    assert done.returncode == 70
    assert done.stderr.startswith("Traceback")
    *_, bug, hint = done.stderr.splitlines()
    assert bug.startswith("pync: this is a bug in pync")
    assert hint.startswith("hint: please report it")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGPIPE"])
def test_an_interrupted_run_really_dies_of_the_signal(name: str) -> None:
    done = run(
        f"signal.signal(signal.{name}, signal.SIG_IGN)\n"
        f"signal.pthread_sigmask(signal.SIG_BLOCK, [signal.{name}])\n"
        f"raise Interrupted(signal.{name})"
    )
    assert (done.returncode, done.stderr) == (-getattr(signal, name), "")


@pytest.mark.parametrize(("body", "signum"), [("raise KeyboardInterrupt", 2), ("raise BrokenPipeError", 13)])
def test_interruptions_of_python_are_quiet_deaths(body: str, signum: int) -> None:
    done = run(body)
    assert (done.returncode, done.stderr) == (-signum, "")


def test_json_error_for_words_that_make_no_sense() -> None:
    done = run("return 0", "connect", "--json", "--nope", "h", "9")
    assert done.returncode == 2
    assert done.stderr.startswith('{"event": "error", "time": ')


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (0, 1, 2)])
def test_descriptors_closed_at_start_become_dev_null(closed: tuple[int, ...]) -> None:
    reader, writer = os.pipe()
    null = os.stat(os.devnull)
    body = (
        f"same = [os.fstat(fd).st_rdev == {null.st_rdev} for fd in {closed!r}]\n"
        f"os.write({writer}, repr([same, [os.get_inheritable(fd) for fd in (0, 1, 2)]]).encode())\n"
        "return 0"
    )
    redirections = "".join(f" {fd}>&-" for fd in closed)
    indented = "\n".join(f"    {line}" for line in body.splitlines())
    program = PROGRAM.format(body=indented, words=("connect", "h", "9"))
    words = ["sh", "-c", f'exec "$0" "$@"{redirections}', sys.executable, "-c", program]
    done = subprocess.run(words, pass_fds=[writer], timeout=30, check=False, stdin=subprocess.DEVNULL)
    os.close(writer)
    with os.fdopen(reader) as stream:
        assert stream.read() == repr([[True] * len(closed), [True] * 3])
    assert done.returncode == 0


@pytest.mark.parametrize("closed", ["1", "2"])
def test_help_with_a_closed_descriptor(closed: str) -> None:
    words = ["sh", "-c", f'exec "$0" -m pync --help {closed}>&-', sys.executable]
    done = subprocess.run(words, capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_inherited_ignored_sigchld_is_reset() -> None:
    body = "return 0 if signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL else 1"
    done = run(body, preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    assert done.returncode == 0


def test_a_stderr_nobody_reads_changes_nothing() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(writer, True)
    body = (
        "from pync.report import Event\n"
        "for n in range(5000): report(Event('listening', {'address': 'h', 'port': n}))\n"
        "raise NetworkError('refused')"
    )
    indented = "\n".join(f"    {line}" for line in body.splitlines())
    program = PROGRAM.format(body=indented, words=("connect", "h", "9"))
    done = subprocess.run([sys.executable, "-c", program], stderr=writer, timeout=30, check=False)
    os.close(reader)
    os.close(writer)
    assert done.returncode == 1


def test_nothing_heavy_is_imported_for_a_plain_call() -> None:
    heavy = [
        "typer",
        "click",
        "rich",
        "asyncio",
        "ssl",
        "dataclasses",
        "inspect",
        "logging",
        "argparse",
        "json",
    ]
    # Measuring coverage imports some of them.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = run(f"sys.stdout.write(' '.join(m for m in {heavy!r} if m in sys.modules))\nreturn 0", env=env)
    assert (done.returncode, done.stdout) == (0, "")


def test_coverage_gets_its_data_even_from_a_process_that_dies(tmp_path: Any) -> None:
    body = (
        "import atexit, coverage\n"
        f"atexit.register(lambda: open({os.fspath(tmp_path / 'saved')!r}, 'w').close())\n"
        "raise Interrupted(15)"
    )
    assert run(body).returncode == -15
    assert (tmp_path / "saved").exists()
