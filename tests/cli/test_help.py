"""The help: right at 80 and 60 columns, plain when piped."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pync.cli.generate.model import read

COMMANDS = {command.name: command for command in read()}


def pync(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, "-m", "pync", *words],
        capture_output=True,
        text=True,
        env=env,
        check=False,
        timeout=30,
    )


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_the_width(command: str, width: int) -> None:
    done = pync(*command.split(), "--help", COLUMNS=str(width))
    assert (done.returncode, done.stderr) == (0, "")
    assert max(len(line) for line in done.stdout.splitlines()) <= min(width, 100)
    assert "\033" not in done.stdout
    assert done.stdout.startswith(f"Usage: pync {command}".rstrip())


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_every_option_and_begins_with_five_of_them(name: str) -> None:
    text = pync(name, "-h", COLUMNS="80").stdout
    for option in COMMANDS[name].options:
        assert option.words in text
    assert [option.panel for option in COMMANDS[name].options].count("Most used") == 5
    assert COMMANDS[name].options[4].panel == "Most used"
    examples = text.partition("\nExamples\n")[2].rstrip().splitlines()
    assert examples
    assert all(line.startswith("  ") and "pync " in line for line in examples)


def test_pync_alone_prints_the_help_on_stderr_and_is_2() -> None:
    done = pync()
    assert (done.returncode, done.stdout) == (2, "")
    assert "Commands" in done.stderr


def test_version() -> None:
    from pync import __version__

    for word in ("--version", "-V"):
        done = pync(word)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"pync {__version__}\n", "")


def test_help_whose_reader_left_dies_of_sigpipe_in_silence() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-m", "pync", "listen", "--help"]
    try:
        done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, timeout=30, check=False)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (-13, b"")


def test_help_to_a_full_disk_is_2() -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    with open("/dev/full", "wb") as full:
        words = [sys.executable, "-m", "pync", "--help"]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (2, "pync: standard output: no space left on device\n")
