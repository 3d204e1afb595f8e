"""Generated files: fresh, and right in the tools that read them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from pync.cli.generate import __main__ as generator
from pync.cli.generate import man_roff, readme
from pync.cli.generate.model import read

ROOT = Path(__file__).parents[2]
PATH = "/usr/bin:/bin"
PAGES = sorted((ROOT / "man").glob("pync*.[17]"))


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def test_no_generated_file_is_stale() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pync.cli.generate", "--check"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_generator_writes_only_what_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generator, "__file__", str(tmp_path / "pync" / "cli" / "generate" / "__main__.py"))
    (tmp_path / "pync" / "cli").mkdir(parents=True)
    assert generator.main(["--check"]) == 1
    assert "stale: man/pync.1\n" in capsys.readouterr().out
    assert generator.main([]) == 0
    assert "wrote completions/_pync\n" in capsys.readouterr().out
    assert (generator.main([]), generator.main(["--check"]), generator.main(["--nope"])) == (0, 0, 2)
    assert capsys.readouterr().out == ""


def test_every_generated_file_is_known(tmp_path: Path) -> None:
    paths = {path.relative_to(tmp_path).as_posix() for path, _ in generator.files(tmp_path)}
    assert {"man/pync.1", "completions/_pync", "pync/cli/quick_table.py"} <= paths


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_manual_pages_are_clean_for_groff(page: Path) -> None:
    words = [tool("groff"), "-ww", "-man", "-Tutf8", "-z", str(page)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_manual_pages_are_clean_for_mandoc(page: Path) -> None:
    done = subprocess.run([tool("mandoc"), "-Tlint", str(page)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_manual_shows_examples_before_options_and_every_event() -> None:
    page = (ROOT / "man" / "pync-send.1").read_text()
    assert page.index(".SH EXAMPLES") < page.index(".SH OPTIONS") < page.index(".SH EXIT STATUS")
    assert ".SS listening" in (ROOT / "man" / "pync.1").read_text()


@pytest.mark.parametrize(
    ("text", "printed"), [("-w --timeout", r"\-w \-\-timeout"), ("it's", r"it\(aqs"), ("a\\b", r"a\eb")]
)
def test_roff_prints_as_it_is(text: str, printed: str) -> None:
    assert man_roff.roff(text) == printed


def test_readme_tables_replace_only_what_is_between_the_marks() -> None:
    page = "before\n<!-- options:scan -->\nold\n<!-- /options:scan -->\nafter <!-- options:recv -->"
    filled = readme.fill(page, read())
    assert filled.startswith("before\n<!-- options:scan -->\n| option | meaning |")
    assert "`-p, --ports PORTS`" in filled
    assert "\nAs for connect: " in filled
    assert filled.endswith(".\n<!-- /options:scan -->\nafter <!-- options:recv -->")
    assert readme.fill(filled, read()) == filled


# completions, in the real shells

BASH = """
source completions/pync.bash
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_pync 2>/dev/null
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
CASES = [
    ("pync ''", {"connect", "listen", "send", "recv", "scan"}),
    ("pync connect --peer", {"--peer-eof"}),
    ("pync connect --peer-eof ''", {"auto", "quit", "continue"}),
    ("pync connect --interface l", {"lo"}),
    ("pync send --checksum b", {"blake3"}),
    ("pync connect -o pyproj", {"pyproject.toml"}),
    ("pync listen --no-prog", {"--no-progress"}),
]


@pytest.mark.parametrize(("words", "wanted"), [*CASES, ("pync connect --peer-eof = q", {"quit"})])
def test_bash_completes(words: str, wanted: set[str]) -> None:
    script = BASH.format(words=words)
    done = subprocess.run(
        [tool("bash"), "--norc", "-c", script], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert wanted <= set(done.stdout.split()), done.stderr


@pytest.mark.parametrize(("words", "wanted"), CASES)
def test_fish_completes(words: str, wanted: set[str], tmp_path: Path) -> None:
    line = words.replace("''", "")
    script = f"source completions/pync.fish; complete -C '{line}'"
    env = {"HOME": str(tmp_path), "PATH": PATH, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [tool("fish"), "--no-config", "-c", script],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=env,
        check=False,
    )
    assert wanted <= {line.partition("\t")[0] for line in done.stdout.splitlines()}, done.stderr


@pytest.mark.parametrize(("words", "wanted"), CASES)
def test_zsh_completes(words: str, wanted: set[str], tmp_path: Path) -> None:
    """zsh completes only for a terminal: type the line, press Tab twice, read what is shown."""
    shell = pexpect.spawn(
        tool("zsh"), ["-f"], cwd=str(ROOT), env={"HOME": str(tmp_path), "PATH": PATH, "TERM": "dumb"},
        encoding="utf-8", timeout=20, dimensions=(50, 200), echo=False,
    )  # fmt: skip
    try:
        shell.sendline("PS1=; unsetopt zle_bracketed_paste; fpath=($PWD/completions $fpath)")
        shell.sendline(f"autoload -U compinit; compinit -u -d {tmp_path}/dump; bindkey '^I' complete-word")
        shell.sendline("zstyle ':completion:*' menu no; setopt no_auto_menu; print RE''ADY")
        shell.expect("READY")
        shell.send(words.replace("''", "") + "\t\t")
        # What was typed is not shown again when one word is completed, all are when several match.
        last = words.rsplit(maxsplit=1)[-1].strip("'")
        missing = {word if len(wanted) > 1 else word.removeprefix(last) for word in wanted}
        while missing:
            shell.expect_exact(sorted(missing))
            missing.discard(shell.after)
            shell.buffer = shell.before + shell.buffer
    finally:
        shell.close(force=True)


def test_shells_accept_the_scripts() -> None:
    for name, path in (("bash", "pync.bash"), ("zsh", "_pync"), ("fish", "pync.fish")):
        if shutil.which(name):
            done = subprocess.run(
                [name, "-n", path], capture_output=True, cwd=ROOT / "completions", check=False
            )
            assert (done.returncode, done.stderr) == (0, b"")


def test_powershell_completes() -> None:
    line = "pync connect --peer-eof q"
    script = f". ./completions/pync.ps1; (TabExpansion2 '{line}').CompletionMatches.CompletionText"
    shell = [tool("pwsh"), "-NoProfile", "-c", script]
    done = subprocess.run(shell, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.split() == ["quit"]
