"""What the wheel and the sdist hold, built twice: complete, and the same bytes both times."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import pync
from tests.harness import ROOT, environment

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def shared_data() -> dict[str, str]:
    data: dict[str, str] = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    return data


def test_every_page_and_completion_is_installed():
    files = {
        path.relative_to(ROOT).as_posix() for top in ("man", "completions") for path in (ROOT / top).iterdir()
    }
    assert files - {"man/terminal.svg"} == shared_data().keys()  # that is the README's picture


def test_pages_go_to_their_section():
    for source, target in shared_data().items():
        if source.startswith("man/"):
            assert target == f"share/man/man{source[-1]}/{Path(source).name}"


def test_the_typer_pin_says_why():
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    pin = next(i for i, line in enumerate(lines) if '"typer>=0.20,<0.29"' in line)
    assert "pydantic" in "".join(lines[pin - 3 : pin])


def test_the_version_is_said(processes):
    assert processes.run("--version").out.decode().split()[:2] == ["pync", pync.__version__]


def test_each_dependency_says_what_it_is_for():
    readme = (ROOT / "README.md").read_text()
    said = readme.partition("## Dependencies\n")[2].partition("\n## ")[0]
    names = [re.match(r"[a-z0-9]+", line)[0] for line in PROJECT["project"]["dependencies"]]
    assert names
    assert [name for name in names if f"`{name}`" not in said] == []


def build(scratch: Path, *places: str) -> list[Path]:
    """The sdist and the wheel of this checkout, once into each of `places`."""
    source = scratch / "source"
    skip = shutil.ignore_patterns(".venv", ".git", ".*_cache", ".hypothesis", "__pycache__", "dist")
    shutil.copytree(ROOT, source, ignore=skip)
    code = (
        "import sys; from hatchling.build import build_sdist, build_wheel;"
        "build_sdist(sys.argv[1]); build_wheel(sys.argv[1])"
    )
    for place in places:
        command = (sys.executable, "-c", code, scratch / place)
        subprocess.run(command, cwd=source, check=True, capture_output=True, env=environment())
    return [scratch / place for place in places]


@pytest.mark.slow
def test_builds_are_complete_and_reproducible(tmp_path):
    built = [
        {path.name: path.read_bytes() for path in sorted(place.iterdir())}
        for place in build(tmp_path, "one", "two")
    ]
    assert built[0].keys() == built[1].keys()
    for name, data in built[0].items():
        assert data == built[1][name], f"{name} differs from build to build"
    with zipfile.ZipFile(next((tmp_path / "one").glob("*.whl"))) as wheel:
        names = wheel.namelist()
    assert "pync/py.typed" in names
    for target in shared_data().values():
        assert any(name.endswith(".data/data/" + target) for name in names), target


@pytest.mark.slow
def test_a_wheel_is_installed_with_its_pages_and_works(tmp_path, processes):
    """Its dependencies, which would come over the network, are those of this environment."""
    (place,) = build(tmp_path, "dist")
    wheel, home = next(place.glob("*.whl")), tmp_path / "home"
    pip = ("-m", "pip", "--disable-pip-version-check", "--python", home)
    for words in (("-m", "venv", "--without-pip", home), (*pip, "install", "-q", "--no-deps", wheel)):
        subprocess.run((sys.executable, *words), check=True, capture_output=True, env=environment())
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        client = processes.spawn(
            home / "bin/pync", "connect", "-zv", "127.0.0.1", port, env={"PYTHONPATH": None}
        )
        assert client.finish() == (0, b"", f"connected to 127.0.0.1:{port}\n")
    for target in shared_data().values():
        assert (home / target).is_file(), target
    (packages,) = home.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(
        "\n".join(path for path in sys.path if "site-packages" in path)
    )
    env = {"PYTHONPATH": None, "HOME": str(tmp_path)}
    done = processes.spawn("bash", "-c", f"{home}/bin/pync --install-completion; exit $?", env=env).finish()
    assert done[:2] == (0, b""), done.err
    script = tmp_path / ".local/share/bash-completion/completions/pync"
    assert script.read_text() == (ROOT / "completions" / "pync.bash").read_text()
