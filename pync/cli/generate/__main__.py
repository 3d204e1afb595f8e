"""`python -m pync.cli.generate [--check]`, to be run in the project's top folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from pync.cli.generate import completions, man, picture, readme, table
from pync.cli.generate.model import read


def files(top: Path) -> Iterator[tuple[Path, str]]:
    """Every generated file and what it should hold."""
    commands = read()
    yield top / "pync" / "cli" / "quick_table.py", table.write(commands)
    for name, text in completions.write(commands).items():
        yield top / "completions" / name, text
    for name, text in man.write(commands).items():
        yield top / "man" / name, text
    drawn = top / "man" / "terminal.svg"
    # Another release of rich draws other details: that alone doesn't make it stale.
    if not drawn.exists() or picture.is_comparable(drawn.read_text(encoding="utf-8")):
        yield drawn, picture.write()
    page = top / "README.md"
    if page.exists():
        yield page, readme.fill(page.read_text(encoding="utf-8"), commands)


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print("usage: python -m pync.cli.generate [--check]", file=sys.stderr)
        return 2
    top = Path(__file__).parents[3]
    stale = [
        (path, text) for path, text in files(top) if not path.exists() or path.read_text("utf-8") != text
    ]
    for path, text in stale:
        if arguments:
            print(f"stale: {path.relative_to(top)}")
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(top)}")
    return 1 if stale and arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
