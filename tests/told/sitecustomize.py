"""Imported by Python at its start: what a process tells of itself besides what it does.

With PYNC_TEST_EVENTS=1 every `pync` writes its events to a file as well, whatever it shows; tests/harness.py
holds each line against the schema when the process is over. While coverage is measured, threads are measured
too that are started without `threading`, which coverage knows nothing of.
"""

import _thread
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys

_VIEWS = "pync.cli.views"


class _Finder(importlib.abc.MetaPathFinder):
    """Wraps View as soon as it is imported, so that nothing is imported earlier than without us."""

    def find_spec(self, name, path=None, target=None):
        if name != _VIEWS:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            _wrap(module)

        spec.loader.exec_module = exec_module
        return spec


def _wrap(views):
    def tell(kind, facts):
        line = views.json_line(kind, facts).encode() + b"\n"
        try:
            fd = os.open(os.environ["PYNC_TEST_EVENTS_FILE"], os.O_WRONLY | os.O_APPEND)
        except OSError:  # no descriptor is left: some tests are about that
            return
        os.write(fd, line)
        os.close(fd)

    say, fail = views.View.__call__, views.View.fail

    def told(self, event):
        tell(*event)
        say(self, event)

    def failed(self, error):
        tell("error", {"code": int(error.code), "message": error.message, "hint": error.hint})
        fail(self, error)

    views.View.__call__, views.View.fail = told, failed


if "PYNC_TEST_EVENTS_FILE" in os.environ:
    sys.meta_path.insert(0, _Finder())


def measure_threads():
    import threading

    start = _thread.start_new_thread

    def measured(function, *arguments):
        def run(*args, **kwargs):
            sys.settrace(threading.gettrace())
            function(*args, **kwargs)

        return start(run, *arguments)

    _thread.start_new_thread = measured


if "COVERAGE_PROCESS_CONFIG" in os.environ:
    measure_threads()
