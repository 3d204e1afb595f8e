"""Tests of pync. `python -m pytest -q -n auto` runs them; `python -m tests.perf` measures."""
