"""Parsing with Typer: for help, completion, mistakes and everything the quick parser leaves alone.

What Typer complains about becomes a UsageError: one line, and a hint that names the spelling that was
probably meant.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import sys
from typing import Any

import typer

from pync.cli import habits
from pync.cli.app import app
from pync.cli.build import OPTIONS, USAGE
from pync.commands.options import Shared
from pync.errors import UsageError

_Complaint: type[Any] = typer.BadParameter.__bases__[0]  # Typer's UsageError, whichever click it brings


def parse(arguments: list[str]) -> tuple[str, Shared] | int:
    """The command and its Options, or the exit status where the answer was already printed.

    Raises UsageError.
    """
    program = _program()
    if not arguments:
        with contextlib.redirect_stdout(sys.stderr):
            program.main(["--help"], prog_name="pync", standalone_mode=False)
        return 2
    command = arguments[0] if arguments[0] in OPTIONS else None
    if command is None:
        _reject_foreign_program(arguments)
    nmap = habits.kind_of_scan(arguments[1:]) if command == "scan" else None
    if nmap is not None:
        raise UsageError(f"scan: no such option: {nmap[0]}", hint=nmap[1])
    try:
        answer: tuple[str, Shared] | int = program.main(arguments, prog_name="pync", standalone_mode=False)
    except _Complaint as complaint:
        raise _usage_error(program, command, arguments, complaint) from None
    except typer.Abort:  # what typer makes of Ctrl-C
        raise KeyboardInterrupt from None
    except UsageError as error:
        hint = habits.after(command, arguments[1:]) if command else None
        raise UsageError(error.message, hint=hint or error.hint) from None
    return answer or 0


@functools.cache
def _program() -> Any:
    return typer.main.get_command(app)


def _reject_foreign_program(arguments: list[str]) -> None:
    """A command line written for another netcat: `pync -l 9000`, `pync host 80`."""
    first = arguments[0]
    if first in ("--help", "-h", "--version", "-V") or first.startswith(("--install-", "--show-")):
        return
    close = difflib.get_close_matches(first, OPTIONS, n=1, cutoff=0.6)
    if close and not first.startswith("-"):
        raise UsageError(
            f"no such command: {first}",
            hint=f"did you mean: {habits.shell([*['pync', close[0]], *arguments[1:]])}",
        )
    meant = _misplaced(arguments) or habits.translate(arguments) or _own_option(first)
    what = f"no such option: {first}" if first.startswith("-") else f"no such command: {first}"
    raise UsageError(what, hint=f"did you mean: {meant}" if meant else "the commands: " + ", ".join(OPTIONS))


def _own_option(word: str) -> str | None:
    """`--verison`."""
    close = difflib.get_close_matches(word, ("--version", "--help", "--install-completion"), n=1, cutoff=0.7)
    return f"pync {close[0]}" if close else None


def _misplaced(arguments: list[str]) -> str | None:
    """`pync help listen`, and `pync -v listen 9000`: options belong behind the command."""
    first, *rest = arguments
    if first in ("help", "version"):
        command = rest[0] if rest and rest[0] in OPTIONS else ""
        return " ".join(word for word in ("pync", command, f"--{first}") if word)
    for place, word in enumerate(rest, start=1):
        if word in OPTIONS and first.startswith("-"):
            return habits.shell(["pync", word, *arguments[:place], *arguments[place + 1 :]])
    return None


def _usage_error(program: Any, command: str | None, arguments: list[str], complaint: Any) -> UsageError:
    """Typer's complaint in one line, with the best hint there is."""
    option = getattr(complaint, "option_name", None)
    unknown = type(complaint).__name__ == "NoSuchOption"
    if command is None:
        return UsageError(_lower(complaint.format_message()), hint="see pync --help")
    see = f"see pync {command} --help"
    if unknown and option:
        shown = _as_typed(option, arguments)
        hint = (
            habits.quit_after(command, shown)
            or habits.foreign(command, option, shown)
            or _nearest(program.commands[command], option)
        )
        return UsageError(f"{command}: no such option: {shown}", hint=hint or see)
    if option:  # a value is missing, or a switch was given one
        message = complaint.format_message()
        if "requires" in message:
            return UsageError(
                f"{command}: {option} needs a value", hint=_form(program.commands[command], option)
            )
        return UsageError(f"{command}: {option} takes no value", hint=see)
    param = getattr(complaint, "param", None)
    if param is not None:
        return UsageError(f"{command}: {_longest(param)}: {complaint.message}", hint=None)
    return UsageError(f"{command}: {_lower(complaint.format_message())}", hint=f"write {USAGE[command]}")


def _as_typed(option: str, arguments: list[str]) -> str:
    """The word the option is in, where it's one letter of a cluster."""
    if option in arguments or len(option) != 2:
        return option
    for word in arguments:
        if word.startswith("-") and not word.startswith("--") and option[1] in word[1:]:
            return f"{option} (in {word})"
    return option


def _nearest(command: Any, option: str) -> str | None:
    known = [name for param in command.params for name in (*param.opts, *param.secondary_opts)]
    longs = [name for name in known if name.startswith("--")]
    wanted = option if option.startswith("--") else f"-{option}"
    # Somebody who types a beginning means what begins so.
    begins = [name for name in longs if name.startswith(wanted)] if len(wanted) > 4 else []
    close = begins or difflib.get_close_matches(wanted, longs, n=2, cutoff=0.6)
    return f"did you mean: {' or '.join(close[:3])}" if close else None


def _form(command: Any, option: str) -> str:
    for param in command.params:
        if option in param.opts:
            return f"write {option} {param.metavar}"
    return f"see pync {command.name} --help"


def _longest(param: Any) -> str:
    return str(max(param.opts, key=len))


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:].rstrip(".")
