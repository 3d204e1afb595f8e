"""What is made from the declaration of the flags: completions, man pages, README tables, the quick table.

`python -m pync.cli.generate` writes them, with `--check` it says what is stale.
"""
