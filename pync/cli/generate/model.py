"""The Typer app as plain values, for the writers."""

from __future__ import annotations

from typing import Any, NamedTuple

import typer

from pync.cli.app import app
from pync.cli.declare import Reader
from pync.cli.help import option_words
from pync.cli.values import Kind


class Option(NamedTuple):
    name: str  # the attribute of Options
    action: str  # on, count, value, append, optional
    names: tuple[str, ...]  # letters first
    off_names: tuple[str, ...]
    kind: Kind | None
    words: str  # `-w, --timeout D`
    help: str
    panel: str

    @property
    def long(self) -> str:
        return next(name for name in self.names if name.startswith("--"))

    @property
    def letters(self) -> tuple[str, ...]:
        return tuple(name for name in self.names if not name.startswith("--"))

    @property
    def choices(self) -> tuple[str, ...]:
        return self.kind.args if self.kind is not None and self.kind.name == "choice" else ()

    @property
    def completes(self) -> str:
        """What a shell may offer as the value: choices, file, dir, interface, port; else switch or other."""
        if self.kind is None:
            return "switch"
        if self.choices:
            return "choices"
        if self.name == "interface":
            return "interface"
        return {"FILE": "file", "PATH": "file", "DIR": "dir", "PORT": "port", "PORTS": "port"}.get(
            self.kind.metavar, "other"
        )


class CommandModel(NamedTuple):
    name: str
    usage: str  # the words after the options
    summary: str
    details: tuple[str, ...]
    options: tuple[Option, ...]
    examples: tuple[str, ...]


def read() -> tuple[CommandModel, ...]:
    """Every command, in the order of the help."""
    group: Any = typer.main.get_command(app)
    return tuple(_command(name, command) for name, command in group.commands.items())


def before_any_command() -> tuple[Option, ...]:
    """The options of `pync` itself."""
    return _options(typer.main.get_command(app))


def _command(name: str, command: Any) -> CommandModel:
    summary, *details = command.help.split("\n\n")
    usage = command.collect_usage_pieces(None)[1]
    examples = tuple(command.epilog.split("\n"))
    return CommandModel(name, usage, summary, tuple(details), _options(command), examples)


def _options(command: Any) -> tuple[Option, ...]:
    return tuple(_option(param) for param in command.params if param.param_type_name == "option")


def _option(param: Any) -> Option:
    names = tuple(sorted(param.opts, key=lambda name: (name.startswith("--"), name)))
    reader = getattr(param.type, "func", None)
    kind = reader.kind if isinstance(reader, Reader) else None
    return Option(
        name=param.name,
        action=_action(param),
        names=names,
        off_names=tuple(param.secondary_opts),
        kind=kind,
        words=option_words(param),
        help=param.help or "",
        panel=param.rich_help_panel,
    )


def _action(param: Any) -> str:
    if param.count:
        return "count"
    if param.is_flag:
        return "on"
    if param.multiple:
        return "append"
    return "optional" if "--secret" in param.opts else "value"
