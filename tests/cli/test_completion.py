"""--install-completion and --show-completion, in the shells they are for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import shellingham

from pync.cli import completion
from pync.errors import LocalError, UsageError
from tests.harness import ROOT

PLACES = {
    "bash": (".local/share/bash-completion/completions/pync", "pync.bash", ".bashrc"),
    "zsh": (".zfunc/_pync", "_pync", ".zshrc"),
    "fish": (".config/fish/completions/pync.fish", "pync.fish", None),
}
# What a new shell of the user's says, if it completes `pync`.
ASKED = {
    "bash": (("-ic", "complete -p pync; type -t _pync"), ["complete -F _pync pync", "function"]),
    "zsh": (
        ("-ic", "print $_comps[pync]; autoload +X _pync && whence -w _pync"),
        ["_pync", "_pync: function"],
    ),
    "fish": (("-c", "complete -C 'pync connect --peer-eof q'"), ["quit"]),
}


def at_home(home: Path) -> dict[str, str]:
    return {"HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def typed_in(shell: str, word: str, home: Path, *, to: str = "") -> subprocess.CompletedProcess[str]:
    """`pync WORD` as a child of that shell, which must not make room for it by leaving."""
    line = f"'{sys.executable}' -m pync {word} {to}; exit $status"
    line = line if shell == "fish" else line.replace("$status", "$?")
    words = [tool(shell), "-c", line]
    return subprocess.run(words, capture_output=True, text=True, env=at_home(home), check=False)


@pytest.mark.parametrize("shell", PLACES)
def test_completion_works_once_it_is_installed(shell: str, tmp_path: Path) -> None:
    place, name, start = PLACES[shell]
    if start is not None:
        (tmp_path / start).write_text("# mine")  # no newline at its end
    done = typed_in(shell, "--install-completion", tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith(f"completion for {shell} is in {tmp_path / place}\n")
    assert (tmp_path / place).read_text() == (ROOT / "completions" / name).read_text()
    command = tmp_path / "bin" / "pync"  # fish completes only commands that are there
    command.parent.mkdir()
    command.touch(0o755)
    env = at_home(tmp_path)
    env["PATH"] += f":{command.parent}"
    words, answer = ASKED[shell]
    asked = subprocess.run(
        [shell, *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, env=env, check=False
    )
    assert [line.partition("\t")[0] for line in asked.stdout.splitlines()] == answer, asked.stderr
    if start is not None:
        first, line = (tmp_path / start).read_text().splitlines()
        assert first == "# mine"
        assert done.stderr.endswith(f"{tmp_path / start}; in this one, type: {line}\n")
        assert typed_in(shell, "--install-completion", tmp_path).returncode == 0
        assert (tmp_path / start).read_text() == f"# mine\n{line}\n"


@pytest.mark.parametrize("shell", PLACES)
def test_the_script_is_shown(shell: str, tmp_path: Path) -> None:
    done = typed_in(shell, "--show-completion", tmp_path)
    expected = (ROOT / "completions" / PLACES[shell][1]).read_text()
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")


def test_a_mere_sh_asks_for_the_shell_of_the_user(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shellingham, "detect_shell", lambda: ("sh", "/bin/sh"))
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    completion.show()
    assert capfd.readouterr().out == (ROOT / "completions" / "pync.fish").read_text()


@pytest.mark.parametrize(
    ("shell", "said"), [("/bin/tcsh", "the shell tcsh"), ("", "a shell that cannot be told")]
)
def test_a_shell_without_a_script_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, shell: str, said: str
) -> None:
    def fail() -> tuple[str, str]:
        raise shellingham.ShellDetectionFailure

    monkeypatch.setattr(shellingham, "detect_shell", fail)
    monkeypatch.setenv("SHELL", shell)
    with pytest.raises(UsageError, match=f"^no completion for {said}$"):
        completion.show()


def test_powershell_is_asked_for_its_profile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "pwsh"
    profile = tmp_path / "it's mine" / "profile.ps1"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{profile}\nEND\n")
    program.chmod(0o755)
    monkeypatch.setattr(shellingham, "detect_shell", lambda: ("pwsh", str(program)))
    completion.install()
    script = profile.parent / "pync.ps1"
    assert script.read_text() == (ROOT / "completions" / "pync.ps1").read_text()
    assert profile.read_text() == f". '{tmp_path}/it''s mine/pync.ps1'\n"
    assert f"completion for pwsh is in {script}\n" in capfd.readouterr().err
    program.write_text("#!/bin/sh\n")
    with pytest.raises(LocalError, match="does not say where its profile is"):
        completion.install()


def test_a_place_that_cannot_be_written_is_a_local_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = typed_in("bash", "--install-completion", tmp_path / "file")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"pync: {tmp_path}/file/.local")
    assert len(done.stderr.splitlines()) == 1
    (tmp_path / "home" / ".bashrc").mkdir(parents=True)
    done = typed_in("bash", "--install-completion", tmp_path / "home")
    assert done.returncode == 2
    assert (
        f"{tmp_path}/home/.bashrc: is a directory\nhint: the line that it should have: source " in done.stderr
    )


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is not there")
def test_a_script_that_cannot_be_told_is_a_local_error(tmp_path: Path) -> None:
    done = typed_in("bash", "--show-completion", tmp_path, to=">/dev/full")
    assert (done.returncode, done.stderr) == (2, "pync: standard output: no space left on device\n")


def test_without_a_home_there_is_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "nowhere")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setattr(shellingham, "detect_shell", lambda: ("fish", "fish"))
    with pytest.raises(LocalError, match="no home directory"):
        completion.install()
