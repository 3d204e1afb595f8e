"""Completion scripts for bash, zsh, fish and PowerShell: static, so completing starts no Python."""

from __future__ import annotations

from pync.cli.generate import completions_bash, completions_fish, completions_powershell, completions_zsh
from pync.cli.generate.model import CommandModel


def write(commands: tuple[CommandModel, ...]) -> dict[str, str]:
    """File name -> text; each named as its shell looks for it."""
    return {
        "pync.bash": completions_bash.write(commands),
        "_pync": completions_zsh.write(commands),
        "pync.fish": completions_fish.write(commands),
        "pync.ps1": completions_powershell.write(commands),
    }
