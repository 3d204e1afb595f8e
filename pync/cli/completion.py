"""`--install-completion` and `--show-completion`: the generated scripts, which start no Python at a Tab.

A script goes where its shell looks for it. A shell that does not look by itself, or only with an add-on, is
told in the file that it reads when it starts.
"""

from __future__ import annotations

import os
import shlex
from typing import NamedTuple

from pync.cli.stdout import write
from pync.errors import LocalError, UsageError, reason

_SCRIPTS = {
    "bash": "pync.bash",
    "zsh": "_pync",
    "fish": "pync.fish",
    "powershell": "pync.ps1",
    "pwsh": "pync.ps1",
}


class _Place(NamedTuple):
    script: str
    start: str = ""  # the file that the shell reads when it starts; none: it finds the script by itself
    line: str = ""  # what has to be in there


def show() -> None:
    """The script for the shell that started us, on stdout."""
    write(_text(_shell()[0]))


def install() -> None:
    """Put the script in its place, and say on stderr where that is and how it is used from now on.

    Raises LocalError for a file that cannot be written, UsageError in a shell that there is no script for.
    """
    from pync.cli.stderr import Stderr

    shell, program = _shell()
    place = _place(shell, program)
    use, hint = f"{shell} finds it there from now on", None
    try:
        _replace(place.script, _text(shell))
        if place.start:
            use = f"new shells load it by {place.start}; in this one, type: {place.line}"
            hint = f"the line that it should have: {place.line}"
            _mention(place.start, place.line)
    except OSError as error:
        raise LocalError(f"{error.filename or place.script}: {reason(error)}", hint=hint) from None
    stderr = Stderr()
    stderr.line(f"completion for {shell} is in {place.script}\n{use}")
    stderr.finish()


def _shell() -> tuple[str, str]:
    """Name and program of the shell that started us; of the user's own where a mere `sh` did."""
    import shellingham

    try:
        name, program = shellingham.detect_shell()
    except (OSError, RuntimeError):  # it found none, or knows no way to look here
        name = program = ""
    if name not in _SCRIPTS:
        program = os.environ.get("SHELL", "")
        name = os.path.basename(program)
    if name not in _SCRIPTS:
        what = f"the shell {name}" if name else "a shell that cannot be told"
        raise UsageError(f"no completion for {what}", hint="there is one for bash, zsh, fish and PowerShell")
    return name, program


def _text(shell: str) -> str:
    from pync.cli.generate import completions, model

    return completions.write(model.read())[_SCRIPTS[shell]]


def _place(shell: str, program: str) -> _Place:
    if shell == "fish":
        return _Place(os.path.join(_folder("XDG_CONFIG_HOME", ".config"), "fish", "completions", "pync.fish"))
    if shell == "bash":
        # Where bash-completion looks, if it is there.
        mine = os.path.join(_folder("XDG_DATA_HOME", ".local/share"), "bash-completion")
        script = os.path.join(os.environ.get("BASH_COMPLETION_USER_DIR") or mine, "completions", "pync")
        return _Place(script, os.path.join(_home(), ".bashrc"), f"source {shlex.quote(script)}")
    if shell == "zsh":
        folder = os.path.join(_home(), ".zfunc")
        line = (
            f"fpath+=({shlex.quote(folder)}); "
            "(( $+functions[compdef] )) || { autoload -Uz compinit; compinit }; "
            "autoload -Uz _pync; compdef _pync pync"
        )
        return _Place(os.path.join(folder, "_pync"), os.path.join(_folder("ZDOTDIR", ""), ".zshrc"), line)
    profile = _profile(program)
    script = os.path.join(os.path.dirname(profile), "pync.ps1")
    quoted = script.replace("'", "''")
    return _Place(script, profile, f". '{quoted}'")


def _home() -> str:
    home = os.path.expanduser("~")
    if not os.path.isabs(home):
        raise LocalError("no home directory to install completion in", hint="set HOME")
    return home


def _folder(variable: str, below_home: str) -> str:
    return os.environ.get(variable) or os.path.join(_home(), below_home)


def _profile(program: str) -> str:
    """What PowerShell reads when it starts; only it knows."""
    import subprocess

    ask = "[Console]::OutputEncoding = [Text.Encoding]::UTF8; $PROFILE"
    answer = subprocess.run(
        [program, "-NoProfile", "-Command", ask], capture_output=True, stdin=subprocess.DEVNULL, check=False
    )
    profile = answer.stdout.decode("utf-8", "replace").strip()
    if not os.path.isabs(profile):
        raise LocalError(f"{program}: does not say where its profile is")
    return profile


def _replace(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def _mention(path: str, line: str) -> None:
    """See that `path` has `line`; all else in it stays as it is."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "a+b") as file:
        file.seek(0)
        before = file.read()
        mention = os.fsencode(line)
        if mention not in before.splitlines():
            file.write((b"" if not before or before.endswith(b"\n") else b"\n") + mention + b"\n")
