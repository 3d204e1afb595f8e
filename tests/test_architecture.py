"""The direction of imports and what each layer may touch, read from the source (README, "How it works")."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import pync

PACKAGE = Path(pync.__file__).parent

# A module imports from its own layer and from those below, never from above.
LAYERS = (
    {"errors", "endpoint", "report", "loop", "task", "threads", "lean", "portable", "__init__"},  # leaves
    {"proto"},
    {"transport"},
    {"relay"},
    {"scanning", "transfer"},  # the engines of three commands
    {"commands"},
    {"api", "connection", "keywords", "cli"},
    {"__main__"},
)
# Options are values without behaviour: the engines are configured with them.
VALUES = {"pync.commands.options"}
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
FRONT = ("cli", "__main__")

NEVER_IN_CORE = {"typer", "click", "rich", "argparse", "logging", "asyncio", "dataclasses", "inspect"}
# Protocol brains see bytes and are told times: no sockets, no files, no clocks. From these modules they may
# have what computes, converts or looks up a name.
NEVER_IN_PROTO = {"select", "selectors", "ssl", "subprocess", "threading", "signal", "fcntl"}
PURE = {
    "socket": {
        "inet_pton",
        "inet_ntop",
        "inet_aton",
        "inet_ntoa",
        "getservbyname",
        "getservbyport",
        "AF_INET",
        "AF_INET6",
    },
    "os": {"urandom", "fsencode", "fsdecode"},
    "time": {"strftime", "localtime", "gmtime", "perf_counter"},
}

# Calls that belong to one place each; a second one is a second fast path, loop or exit.
SEAMS = {
    "epoll": {"loop.py", "scanning/tcp.py"},  # the scan nests a set of its own in the loop's
    "kqueue": {"loop.py"},
    "splice": {"relay/kernel.py"},
    "sendfile": {"relay/kernel.py", "transfer/outward.py"},  # a transfer's bodies lie between frames
    "getaddrinfo": {"endpoint.py"},
    "select": {"portable/poller.py"},
    "poll": {"loop.py", "relay/kernel.py", "cli/stderr.py"},  # kernel.py: beside splice
    "posix_spawnp": {"transport/child.py"},
    "fork": {"scanning/workers.py"},
    "exit": {"__main__.py", "cli/generate/__main__.py"},  # the generator is a program of its own
    "_exit": {"__main__.py", "scanning/workers.py"},  # a forked worker must not run our cleaning up
}
# Core gives values and events; these two speak for themselves, and say why here.
SPEAKERS = {
    "scanning/waiting.py",  # flushes what was printed before it becomes another program
    "transfer/ask.py",  # asks the user on the terminal
}


@cache
def modules() -> dict[str, ast.Module]:
    """Path below pync/ -> parsed source."""
    return {
        path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(), str(path))
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def layer(path: str) -> str:
    return path.split("/", maxsplit=1)[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """(dotted module, line) of every import, also those inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            if node.module == "pync":
                yield from ((f"pync.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield str(node.module), node.lineno


def core() -> dict[str, ast.Module]:
    return {path: tree for path, tree in modules().items() if layer(path) not in FRONT}


def violations(found: Iterator[str]) -> None:
    listed = list(found)
    assert not listed, "\n".join(listed)


def test_every_module_has_a_layer():
    assert {layer(path) for path in modules()} <= RANK.keys()


def test_imports_point_downwards():
    def found() -> Iterator[str]:
        for path, tree in modules().items():
            for name, line in imports(tree):
                parts = name.split(".")
                target = parts[1] if len(parts) > 1 else "__init__"
                if name in VALUES:
                    continue
                if parts[0] == "pync" and RANK.get(target, 0) > RANK[layer(path)] and path != "__init__.py":
                    yield f"pync/{path}:{line} imports {name}"

    violations(found())


def test_core_imports_no_framework():
    violations(
        f"pync/{path}:{line} imports {name}"
        for path, tree in core().items()
        for name, line in imports(tree)
        if name.split(".")[0] in NEVER_IN_CORE
    )


def test_proto_knows_no_sockets_and_no_clocks():
    def found() -> Iterator[str]:
        for path, tree in modules().items():
            if layer(path) != "proto":
                continue
            for name, line in imports(tree):
                if name.split(".")[0] in NEVER_IN_PROTO:
                    yield f"pync/{path}:{line} imports {name}"
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and node.module in PURE:
                    used = {alias.name for alias in node.names} - PURE[node.module]
                elif isinstance(node, ast.Attribute) and ast.unparse(node.value) in PURE:
                    used = {node.attr} - PURE[ast.unparse(node.value)]
                else:
                    continue
                yield from (f"pync/{path}:{node.lineno} uses {name}" for name in used)

    violations(found())


def test_only_the_front_prints():
    def found() -> Iterator[str]:
        for path, tree in core().items():
            if path in SPEAKERS:
                continue
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                    yield f"pync/{path}:{node.lineno} prints"
                if isinstance(node, ast.Attribute) and ast.unparse(node) in ("sys.stdout", "sys.stderr"):
                    yield f"pync/{path}:{node.lineno} uses {ast.unparse(node)}"

    violations(found())


@pytest.mark.parametrize("call", SEAMS)
def test_a_system_call_stays_in_its_seam(call):
    def found() -> Iterator[str]:
        for path, tree in modules().items():
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute) and node.attr == call:
                    owner = ast.unparse(node.value)
                    if owner in ("os", "select", "socket", "sys") and path not in SEAMS[call]:
                        yield f"pync/{path}:{node.lineno} uses {owner}.{call}"

    violations(found())


def test_nothing_raises_system_exit_but_main():
    violations(
        f"pync/{path}:{node.lineno} raises SystemExit"
        for path, tree in modules().items()
        if path != "__main__.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise) and node.exc is not None and "SystemExit" in ast.unparse(node.exc)
    )
