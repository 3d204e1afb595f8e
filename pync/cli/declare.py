"""From a class of annotated flags to the signature Typer reads.

A flag is one line: a class attribute `name: Annotated[type, flag(...)]`. Its default is the attribute of
the same name in the command's Options class, so that it's written once; classes inherit, a command may
redefine a flag to explain it in its own words. `signature` puts the flags in the order of the help: panel
by panel.
"""

from __future__ import annotations

import inspect
from typing import Any, get_type_hints

import typer

from pync.cli.values import Kind
from pync.errors import UsageError

# Panels, in the order of the help.
MOST = "Most used"
ENDS = "How it ends"
CLIENTS = "Clients"
SERVICES = "Built-in services"
ACCESS = "Who may connect"
DATA = "Programs, copies, filters"
FILES = "Files"
SECRET = "Shared secret"
ROLE = "Roles and readiness"
TARGETS = "Targets and ports"
WAIT = "Waiting for services"
SPEED = "Speed and order"
TIME = "Time and pace"
ADDRESS = "Addresses"
SOCKET = "Socket options"
TLS = "TLS"
PROXY = "Proxies"
REPORT = "What is shown"

PANELS = (
    *(MOST, ENDS, CLIENTS, SERVICES, ACCESS, FILES, SECRET, TARGETS, WAIT, SPEED),
    *(DATA, TIME, ROLE, ADDRESS, TLS, PROXY, SOCKET, REPORT),
)


class Reader:
    """A Kind for Typer: leaves defaults alone and turns failures into Typer's own."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.__name__ = kind.metavar

    def __call__(self, word: Any) -> Any:
        if not isinstance(word, str):
            return word
        try:
            return self.kind(word)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        except UsageError as error:
            raise typer.BadParameter(error.message) from None


def flag(panel: str, names: str, help: str, kind: Kind | None = None, **more: Any) -> Any:
    """The declaration of one option. `names` as the help shows them (`-w --timeout`); no kind: a switch.

    `show_default` is off: defaults worth knowing are said in the help's own words.
    """
    if kind is not None:
        more.setdefault("metavar", kind.metavar)
        more["parser"] = Reader(kind)
    return typer.Option(*names.split(), help=help, rich_help_panel=panel, show_default=False, **more)


def signature(
    flags: type, options: type, words: dict[str, Any], most_used: tuple[str, ...]
) -> inspect.Signature:
    """Positional words first, then each flag of `flags` with its default out of `options`, by panel.

    `most_used` names the flags that head the help; elsewhere they'd be in a panel of their own task.
    """
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter(name, keyword, default=[], annotation=annotation)
        for name, annotation in words.items()
    ]
    hints = get_type_hints(flags, include_extras=True)
    declared = [name for owner in reversed(flags.__mro__) for name in inspect.get_annotations(owner)]
    names = list(dict.fromkeys(declared))  # the first mention keeps the place, the last one the words

    def place(name: str) -> tuple[int, int]:
        if name in most_used:
            return 0, most_used.index(name)
        return PANELS.index(hints[name].__metadata__[0].rich_help_panel), 0

    for name in sorted(names, key=place):
        if name in most_used:
            hints[name].__metadata__[0].rich_help_panel = MOST
        default = getattr(options, name)
        default = list(default) if isinstance(default, tuple) else default
        parameters.append(inspect.Parameter(name, keyword, default=default, annotation=hints[name]))
    return inspect.Signature(parameters)
