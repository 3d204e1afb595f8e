"""The Typer app: five commands, each a signature made of its flags and one help text.

A command's function returns the Options it was asked for; nothing runs here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from pync import __version__
from pync.cli.build import OPTIONS, build
from pync.cli.declare import signature
from pync.cli.flags import ConnectFlags, ListenFlags
from pync.cli.flags_scan import ScanFlags
from pync.cli.flags_transfer import RecvFlags, SendFlags
from pync.cli.help import Command, Group
from pync.cli.stdout import write
from pync.commands.options import Shared

ONE_LINE = "connect, listen, send, receive and scan; its exit status never lies"

PYNC_EXAMPLES = (
    "pync listen 9000 > file",
    "pync connect host 9000 < file",
    "pync send host 9000 photos/",
    "pync recv 9000 -o inbox/",
    "pync scan db:5432 --wait 30s && echo up",
)

app = typer.Typer(
    name="pync",
    cls=Group,
    help=ONE_LINE[0].upper() + ONE_LINE[1:] + ".",
    epilog="\n".join(PYNC_EXAMPLES),
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,  # its scripts start Python at every Tab; ours are in cli/completion.py
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        write(f"pync {__version__}\n")
        raise typer.Exit


def _install_completion(wanted: bool) -> None:
    if wanted:
        from pync.cli import completion

        completion.install()
        raise typer.Exit


def _show_completion(wanted: bool) -> None:
    if wanted:
        from pync.cli import completion

        completion.show()
        raise typer.Exit


@app.callback()
def _pync(
    version: Annotated[
        bool,
        typer.Option(*("-V", "--version"), help="Print the version", callback=_show_version, is_eager=True),
    ] = False,
    install_completion: Annotated[
        bool,
        typer.Option(
            "--install-completion",
            help="Install completion for this shell",
            callback=_install_completion,
            is_eager=True,
        ),
    ] = False,
    show_completion: Annotated[
        bool,
        typer.Option(
            "--show-completion",
            help="Print the completion script of this shell",
            callback=_show_completion,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """What is asked for before any command."""


def _command(
    name: str, flags: type, *, words: str, most_used: tuple[str, ...], help: str, example: str
) -> None:
    """Adds the command `name`: positional `words` as the usage shows them, then `flags`."""
    positional = "targets" if name == "scan" else "words"
    argument = {positional: Annotated[list[str], typer.Argument(metavar=words, show_default=False)]}

    def run(**values: Any) -> tuple[str, Shared]:
        return name, build(name, list(values.pop(positional) or ()), _given(name, values))

    run.__name__ = name
    shape = signature(flags, OPTIONS[name], argument, most_used)
    run.__signature__ = shape  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in shape.parameters.values()}
    register: Callable[..., Any] = app.command(
        name, cls=Command, help=help, epilog=example, context_settings={"help_option_names": ["-h", "--help"]}
    )
    register(run)


def _given(name: str, values: dict[str, Any]) -> dict[str, Any]:
    """Without the defaults, and lists as the tuples that Options hold."""
    known = OPTIONS[name]
    frozen = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return {key: value for key, value in frozen.items() if value != getattr(known, key)}


_command(
    "connect",
    ConnectFlags,
    words="ENDPOINT",
    most_used=("udp", "timeout", "verbose", "zero", "tls"),
    help="Connect, then pipe stdin to the peer and the peer to stdout.\n\n"
    "ENDPOINT is HOST PORT, HOST:PORT, [V6]:PORT, unix:PATH, or with the transport in front: "
    "udp://HOST:PORT, tls://HOST:PORT.",
    example=(
        "pync connect example.org 80 --crlf\n"
        "pync connect db 5432 -z -w 2s && echo up\n"
        "pync connect tls://example.org:443 < request\n"
        "tar c . | pync connect host 9000"
    ),
)
_command(
    "listen",
    ListenFlags,
    words="ENDPOINT",
    most_used=("keep_open", "udp", "exec_command", "verbose", "tls"),
    help="Accept connections and pipe, serve, relay or broker them.\n\n"
    "ENDPOINT is PORT (all addresses), HOST PORT, HOST:PORT, unix:PATH or fd:N. "
    "Port 0 lets the system choose.",
    example=(
        "pync listen 9000 > file\n"
        "pync listen -k 9000 --chat\n"
        "pync listen -k 8080 --forward unix:/run/app.sock\n"
        "pync listen -k 9000 -e /bin/cat"
    ),
)
_command(
    "send",
    SendFlags,
    words="ENDPOINT [PATH]...",
    most_used=("secret", "compress", "exclude", "raw", "listen"),
    help="Deliver files, directories or stdin, verified end to end.\n\n"
    "Exits 0 only after the receiver confirmed that every byte is verified and in place. Without PATH, or "
    "with -, stdin is sent. An interrupted transfer goes on where it stopped when the same command runs "
    "again.",
    example=(
        "pync send host 9000 report.pdf photos/\n"
        "pync send --secret=7-otter-violin host 9000 backup.img\n"
        "pg_dump shop | pync send host 9000"
    ),
)
_command(
    "recv",
    RecvFlags,
    words="ENDPOINT",
    most_used=("output", "secret", "keep_open", "overwrite", "raw"),
    help="Receive what 'pync send' sends.\n\n"
    "Files are verified, then appear under their names; a stream goes to stdout. ENDPOINT is as for listen.",
    example=("pync recv 9000 -o inbox/\npync recv 9000 --secret\npync recv 9000 | psql shop"),
)
_command(
    "scan",
    ScanFlags,
    words="TARGET... [-- CMD [ARG]...]",
    most_used=("ports", "udp", "wait", "banner", "timeout"),
    help="Find open ports; wait until services are up.\n\n"
    "TARGET is a name, address, network (10.0.0.0/24), range (10.0.0.1-20), HOST:PORTS, @FILE or - (stdin). "
    "Exits 0 if any port is open, 1 if none.",
    example=(
        "pync scan 192.168.1.0/24 -p 22,80,443\n"
        "pync scan host -p all --banner\n"
        "pync scan db:5432 cache:6379 --wait 30s -- ./start-app"
    ),
)
