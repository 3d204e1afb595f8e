"""Real processes: streams, kills, full disks, terminals, several at once."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import Host, Process, Processes, pattern
from tests.tls.zoo import self_signed
from tests.transfer.rig import tree

HERE = "127.0.0.1"
SECRET = ("--secret=7-otter-violin",)


def _recv(processes: Processes, out: Path, *options: str) -> Process:
    return processes.listen("-o", f"{out}/", *options, f"{HERE}:0", command="recv", stdin=subprocess.DEVNULL)


def _send(processes: Processes, port: int, *words: str | Path) -> Process:
    return processes.pync("send", f"{HERE}:{port}", *map(str, words), stdin=subprocess.DEVNULL)


def _grown(part: Path, size: int) -> Callable[[], bool]:
    return lambda: part.exists() and part.stat().st_size >= size


@pytest.mark.parametrize("options", [(), SECRET], ids=["plain", "secret"])
@pytest.mark.parametrize("victim", ["sender", "receiver"])
@pytest.mark.parametrize("after", [1, 4_000_000, 11_000_000])
def test_killed_end_is_started_again_and_the_transfer_goes_on(
    processes: Processes, tmp_path: Path, out: Path, options: tuple[str, ...], victim: str, after: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(pattern(12_000_000))
    receiver = _recv(processes, out, *options, "--retry-for", "20s", "--rate", "30M")
    sender = _send(processes, receiver.port, path, *options, "--retry-for", "20s")
    part = out / "file.part"
    killed = sender if victim == "sender" else receiver
    killed.until(_grown(part, after), "a part of the file")
    killed.popen.send_signal(signal.SIGKILL)
    killed.ends(10)
    if victim == "sender":
        other = receiver
        again = _send(processes, receiver.port, path, *options)
    else:
        other = sender
        again = processes.pync(
            "recv", "-o", f"{out}/", *options, f"{HERE}:{receiver.port}", stdin=subprocess.DEVNULL
        )
    assert again.wait().code == 0
    assert other.wait().code == 0
    assert (out / "file").read_bytes() == path.read_bytes()
    assert [p.name for p in out.iterdir()] == ["file"]


@pytest.mark.parametrize("options", [(), SECRET], ids=["plain", "secret"])
def test_stream_from_stdin_to_stdout(processes: Processes, options: tuple[str, ...]) -> None:
    data = pattern(3_000_000)
    receiver = processes.listen(*options, f"{HERE}:0", command="recv")
    sender = processes.pync("send", *options, f"{HERE}:{receiver.port}")
    assert sender.finish(data).code == 0
    done = receiver.wait()
    assert (done.code, done.out) == (0, data)


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o002, 0o664)])
def test_a_stream_becomes_a_file_as_one_of_a_shell_would(
    processes: Processes, out: Path, umask: int, mode: int
) -> None:
    before = os.umask(umask)
    try:
        receiver = processes.listen("-o", str(out / "x"), f"{HERE}:0", command="recv")
    finally:
        os.umask(before)
    assert processes.run("send", f"{HERE}:{receiver.port}", input=b"words").code == 0
    assert receiver.wait().code == 0
    assert (out / "x").stat().st_mode & 0o7777 == mode


def test_file_on_stdin_is_sent_like_a_file_and_keeps_its_position_shared(
    processes: Processes, tmp_path: Path, out: Path
) -> None:
    path = tmp_path / "in"
    path.write_bytes(b"0123456789")
    receiver = processes.listen("-o", str(out / "x"), f"{HERE}:0", command="recv")
    with path.open("rb") as stdin:
        os.lseek(stdin.fileno(), 4, os.SEEK_SET)
        sender = processes.pync("send", f"{HERE}:{receiver.port}", stdin=stdin)
        assert sender.wait().code == 0
    assert receiver.wait().code == 0
    assert (out / "x").read_bytes() == b"456789"


def test_file_to_stdout_is_verified_at_the_end(processes: Processes, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(pattern(2_500_000))
    receiver = processes.listen("-o", "-", f"{HERE}:0", command="recv")
    assert _send(processes, receiver.port, path).wait().code == 0
    done = receiver.wait()
    assert (done.code, done.out) == (0, path.read_bytes())


def test_reader_of_stdout_that_leaves_is_141_and_the_sender_knows(
    processes: Processes, tmp_path: Path
) -> None:
    path = tmp_path / "f"
    path.write_bytes(pattern(8_000_000))
    reader, writer = os.pipe()
    receiver = processes.listen("-o", "-", f"{HERE}:0", command="recv", stdout=writer)
    os.close(writer)
    os.close(reader)
    sent = _send(processes, receiver.port, path, "--retry-for", "0s").wait()
    assert sent.code in (1, 2)
    assert receiver.wait().code in (-signal.SIGPIPE, 141)


@pytest.mark.parametrize(
    "options",
    [(), ("-q",), ("--tls",), ("--tls", "--tls-cert")],
    ids=["plain", "quiet", "tls", "own certificate"],
)
def test_made_code_is_shown_in_a_command_that_works_as_printed(
    processes: Processes, tmp_path: Path, out: Path, options: tuple[str, ...]
) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x")
    if "--tls-cert" in options:  # nobody else vouches for it, and its name is another one
        options = (*options, self_signed("example.org").write(tmp_path / "own.pem"))
    receiver = _recv(processes, out, "--secret", *options)
    words = receiver.expect(r"^at the other end: pync (send --secret=\d+-[a-z]+-[a-z]+ [^\n]*) PATH\.\.\.$")
    assert processes.run(*words[1].decode().split(), str(path), stdin=subprocess.DEVNULL).code == 0
    done = receiver.wait()
    assert done.code == 0
    assert done.err.count("at the other end") == 1  # not a second command, which would lack the code


@pytest.mark.parametrize("listener", ["recv", "send"])
def test_command_for_tls_with_a_secret_of_the_user_asks_for_the_secret(
    processes: Processes, tmp_path: Path, out: Path, listener: str
) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x")
    words = ("-o", f"{out}/", f"{HERE}:0") if listener == "recv" else ("--listen", f"{HERE}:0", str(path))
    options = ("--tls", "--secret=seven-otters")
    first = processes.listen(*options, *words, command=listener, stdin=subprocess.DEVNULL)
    typed = first.expect(r"^at the other end: pync ([^\n]*)\n")[1].decode()
    if listener == "recv":
        words = tuple(typed.replace("PATH...", str(path)).split())
    else:
        words = (*typed.replace("=WORDS", "=seven-otters").split(), "-o", f"{out}/")
    second = processes.pync(
        *words, env={**os.environ, "PYNC_SECRET": "seven-otters"}, stdin=subprocess.DEVNULL
    )
    assert second.wait().code == 0
    assert first.wait().code == 0


@pytest.mark.parametrize("way", ["file", "environment"])
def test_secret_from_a_file_and_from_the_environment(
    processes: Processes, tmp_path: Path, out: Path, way: str
) -> None:
    path, secret = tmp_path / "f", tmp_path / "secret"
    path.write_bytes(b"x")
    secret.write_text("seven otters\n")
    receiver = _recv(processes, out, "--secret=seven-otters")
    if way == "file":
        sender = _send(processes, receiver.port, path, "--secret-file", secret)
    else:
        environment = {**os.environ, "PYNC_SECRET": "seven otters"}
        words = ("send", "--secret", f"{HERE}:{receiver.port}", str(path))
        sender = processes.pync(*words, env=environment, stdin=subprocess.DEVNULL)
    assert sender.wait().code == 0
    assert receiver.wait().code == 0


def test_secret_that_nobody_can_be_asked_for_is_2(processes: Processes, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x")
    words = ("send", "--secret", f"{HERE}:1", str(path))
    done = processes.pync(*words, stdin=subprocess.DEVNULL).wait()
    assert done.code == 2
    assert "PYNC_SECRET" in done.err


def test_datagrams_wait_for_their_own_issue(processes: Processes, tmp_path: Path) -> None:
    for words in (("send", "-u", f"{HERE}:1"), ("recv", "-u", f"{HERE}:0")):
        done = processes.run(*words)
        assert done.code == 2
        assert "over datagrams (-u) is not there yet" in done.err
        help = " ".join(processes.run(words[0], "--help").out.decode().split())
        assert "UDP datagrams: not there yet" in help


def test_several_senders_at_once(processes: Processes, tmp_path: Path, out: Path) -> None:
    receiver = _recv(processes, out, "--count", "3", "-k")
    senders = []
    for number in range(3):
        path = tmp_path / f"f{number}"
        path.write_bytes(pattern(2_000_000, number))
        senders.append(_send(processes, receiver.port, path))
    assert [sender.wait().code for sender in senders] == [0, 0, 0]
    assert receiver.wait().code == 0
    for number in range(3):
        assert (out / f"f{number}").read_bytes() == pattern(2_000_000, number)


def test_same_files_to_several_receivers_at_once(processes: Processes, source: Path, tmp_path: Path) -> None:
    words = ("--listen", "--to", "2", f"{HERE}:0", str(source))
    sender = processes.listen(*words, command="send", stdin=subprocess.DEVNULL)
    outs = [tmp_path / "one", tmp_path / "two"]
    receivers = [
        processes.pync(
            "recv", "--connect", "-o", f"{out}/", f"{HERE}:{sender.port}", stdin=subprocess.DEVNULL
        )
        for out in outs
    ]
    assert [receiver.wait().code for receiver in receivers] == [0, 0]
    assert sender.wait().code == 0
    for out in outs:
        assert tree(out / "tree") == tree(source)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    path = tmp_path / "tiny"
    path.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(path)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("mounting a small tmpfs is not allowed here")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.mark.parametrize("options", [(), SECRET], ids=["plain", "secret"])
def test_full_disk_is_2_at_both_ends_and_room_lets_it_go_on(
    processes: Processes, tmp_path: Path, tiny_disk: Path, options: tuple[str, ...]
) -> None:
    path = tmp_path / "f"
    path.write_bytes(pattern(3_000_000))
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(bytes(2 << 20))
    receiver = _recv(processes, tiny_disk, *options)
    sent = _send(processes, receiver.port, path, *options).wait()
    received = receiver.wait()
    assert (sent.code, received.code) == (2, 2)
    assert "no space left" in sent.err
    assert "no space left" in received.err
    assert not (tiny_disk / "f").exists()
    ballast.unlink()
    receiver = _recv(processes, tiny_disk, *options)
    assert _send(processes, receiver.port, path, *options).wait().code == 0
    assert receiver.wait().code == 0
    assert (tiny_disk / "f").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("size", [1000, 300_000, 3_000_000], ids=["inline", "eager", "asked"])
def test_a_disk_that_is_full_from_the_start_keeps_no_empty_file(
    processes: Processes, tmp_path: Path, tiny_disk: Path, size: int
) -> None:
    path = tmp_path / "f"
    path.write_bytes(pattern(size))
    (tiny_disk / "ballast").write_bytes(bytes(4 << 20))
    receiver = _recv(processes, tiny_disk)
    assert _send(processes, receiver.port, path).wait().code == 2
    assert receiver.wait().code == 2
    assert [one.name for one in tiny_disk.iterdir()] == ["ballast"]


def _peak(process: Process) -> int:
    """Peak memory of a running process, MiB."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) >> 10
    raise AssertionError("no VmHWM")


def test_memory_stays_flat_over_many_files(processes: Processes, tmp_path: Path, out: Path) -> None:
    """Measured while -k keeps both ends alive: one file first, then thousands."""
    one, many = tmp_path / "one", tmp_path / "many"
    one.mkdir()
    many.mkdir()
    (one / "f").write_bytes(b"x")
    for number in range(12_000):
        (many / f"a-file-with-a-name-of-usual-length-{number}").touch()
    receiver = _recv(processes, out, "-k")
    assert _send(processes, receiver.port, one).wait().code == 0
    before = _peak(receiver)
    sender = _send(processes, receiver.port, many)
    assert sender.wait().code == 0
    assert _peak(receiver) - before <= 10
    assert len(list((out / "many").iterdir())) == 12_000


def test_two_hosts(
    processes: Processes, hosts: tuple[Host, Host], tmp_path: Path, source: Path, out: Path
) -> None:
    near, far = hosts
    words = ("--secret=a-b-c", "-o", f"{out}/", "0.0.0.0:0")
    receiver = processes.listen(*words, command="recv", host=far, stdin=subprocess.DEVNULL)
    words = ("send", "--secret=a-b-c", f"{far.ipv4}:{receiver.port}", str(source))
    sender = processes.pync(*words, host=near, stdin=subprocess.DEVNULL)
    assert sender.wait().code == 0
    assert receiver.wait().code == 0
    assert tree(out / "tree") == tree(source)


def test_question_on_a_terminal(processes: Processes, tmp_path: Path, out: Path) -> None:
    import pexpect

    from tests.harness import PYNC

    path = tmp_path / "f"
    path.write_bytes(b"x")
    for answer, code in (("n", 2), ("y", 0)):
        port_file = tmp_path / f"port-{answer}"
        command, *arguments = (*PYNC, "recv", "--port-file", str(port_file), f"{HERE}:0")
        environment = {**os.environ, "PYTHONPATH": os.getcwd()}
        child = pexpect.spawn(command, arguments, cwd=str(out), timeout=20, env=environment)  # type: ignore[arg-type]
        child.expect("listening on")
        child.expect(r":(\d+)")
        sender = _send(processes, int(child.match.group(1)), path)  # type: ignore[union-attr]
        child.expect(r"sends f \(1 B\). Accept\? \[y/N\] ")
        child.sendline(answer)
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == code
        assert sender.wait().code == code
    assert (out / "f").read_bytes() == b"x"


# --- the names a shell gives to what is open ---------------------------------------------------------


@pytest.mark.parametrize("name", ["/dev/stdin", "/dev/fd/0", "link"])
def test_a_pipe_under_a_name_arrives_as_what_it_gives(
    processes: Processes, tmp_path: Path, name: str
) -> None:
    (tmp_path / "link").symlink_to("/dev/stdin")
    receiver = processes.listen("-o", "-", f"{HERE}:0", command="recv", stdin=subprocess.DEVNULL)
    sent = processes.run("send", f"{HERE}:{receiver.port}", str(tmp_path / name), input=b"some words\n")
    got = receiver.wait()
    assert (sent.code, got.code, got.out) == (0, 0, b"some words\n"), sent.err


def test_a_pipe_that_was_read_in_part_is_not_sent_as_if_it_were_whole(
    processes: Processes, tmp_path: Path, out: Path
) -> None:
    receiver = _recv(processes, out)
    sender = processes.pync("send", f"{HERE}:{receiver.port}", "/dev/stdin")
    sender.write(b"the first part")
    sender.until(lambda: any(p.stat().st_size for p in out.iterdir()), "the first part over there")
    receiver.popen.send_signal(signal.SIGKILL)
    receiver.ends(10)
    again = processes.pync(
        "recv", "-o", f"{out}/", f"{HERE}:{receiver.port}", "--retry-for", "2s", stdin=subprocess.DEVNULL
    )
    sender.write(b", the second")
    sender.close_stdin()
    assert sender.wait().code == 1
    assert "stdin cannot be read a second time" in sender.err
    assert again.wait().code == 1
    assert not (out / "stdin").exists()


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="no /proc here")
def test_what_the_kernel_says_on_stdin_arrives(processes: Processes) -> None:
    receiver = processes.listen("-o", "-", f"{HERE}:0", command="recv", stdin=subprocess.DEVNULL)
    with open("/proc/version", "rb") as file:
        sent = processes.run("send", f"{HERE}:{receiver.port}", stdin=file)
    got = receiver.wait()
    assert (sent.code, got.code, got.out) == (0, 0, Path("/proc/version").read_bytes()), sent.err


def test_a_secret_without_a_word_is_a_wrong_use(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    done = processes.run(
        "send", "--secret=---", f"{HERE}:1", str(tmp_path / "file"), stdin=subprocess.DEVNULL
    )
    assert done.code == 2
    assert "--secret: there is no word in it" in done.err


def test_stdin_that_is_refused_is_told_in_one_line(processes: Processes, out: Path) -> None:
    receiver = _recv(processes, out)
    sent = processes.run("send", f"{HERE}:{receiver.port}", input=b"words")
    got = receiver.wait()
    assert (sent.code, got.code) == (2, 2)
    for said in (sent.err, got.err):
        assert [line for line in said.splitlines() if "stdin" in line] == [
            "pync: (stdin): it has no name; use -o FILE"
        ]
