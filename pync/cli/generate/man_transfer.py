"""pync-transfer.7: the protocol, from the docstrings that specify it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path

from pync.cli.generate.man_roff import head, prose, roff, see_also

# What stands deeper than the text of a numbered item (3) is a drawing, to be kept as it is.
_DRAWN = 4


def write() -> str:
    proto = Path(__file__).parents[2] / "proto"
    lines = head("pync-transfer", 7, "the protocol of pync send and pync recv", "Miscellaneous Information")
    lines += [".SH DESCRIPTION", *_body(_doc(proto / "transfer.py"))]
    lines += [".SH SECURITY", *_body(_doc(proto / "secret.py"))]
    lines += [".SH SEE ALSO", see_also([("pync", 1), ("pync-send", 1), ("pync-recv", 1)])]
    # The paragraph after a heading begins by itself.
    kept = [line for before, line in pairwise(["", *lines]) if line != ".PP" or not before.startswith(".S")]
    return "\n".join(kept) + "\n"


def _doc(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def _body(text: str) -> Iterator[str]:
    """Paragraphs, numbered sections and drawings."""
    for drawn, group in groupby(text.split("\n"), key=lambda line: len(line) - len(line.lstrip()) >= _DRAWN):
        lines = list(group)
        if drawn:
            yield from (".PP", ".EX", *(roff(line) for line in lines), ".EE")
        else:
            yield from _paragraphs(lines)


def _paragraphs(lines: list[str]) -> Iterator[str]:
    paragraph: list[str] = []
    for line in [*lines, ""]:
        number = line.partition(" ")[0]
        starts = number.endswith(".") and number[:-1].isdigit()
        if (starts or not line.strip()) and paragraph:
            yield from (".PP", prose(" ".join(paragraph)))
            paragraph = []
        if starts:
            title, _, line = line.partition(" ")[2].partition(". ")
            yield f".SS {prose(title.replace('`', ''))}"
        if line.strip():
            paragraph.append(line.strip().replace("`", ""))
