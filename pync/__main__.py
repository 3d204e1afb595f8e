"""The entry: parse, run, exit status. The only place that exits.

Errors become one line and a status here, signals that were caught for the sake of a clean end are died of
here.
"""

from __future__ import annotations

import errno
import os
import sys

from pync.errors import ExitCode, Interrupted, LocalError, PyncError, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pync.cli.views import View


def main() -> int:
    """What the `pync` command runs."""
    _open_missing_descriptors()
    _wait_for_children()
    try:
        status = _guarded(sys.argv[1:])
    except Interrupted as interrupted:
        status = _die_of(interrupted.signum)
    except KeyboardInterrupt:
        import signal

        status = _die_of(signal.SIGINT)
    except BrokenPipeError:
        import signal

        status = _die_of(getattr(signal, "SIGPIPE", 13))
    return _leave(status)


def _guarded(arguments: list[str]) -> int:
    """The exit status of a command line; everything but an interruption is told to the user."""
    try:
        status = _run(arguments)
        _flush_stdout()
        return status
    except PyncError as error:
        return _tell(error, arguments)
    except MemoryError:
        return _tell(LocalError("out of memory"), arguments)
    except SystemExit as exit:
        return exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    except (Interrupted, KeyboardInterrupt, BrokenPipeError):
        raise
    except BaseException as error:
        if _is_want_of_descriptors(error):
            return _tell(LocalError(reason(OSError(errno.EMFILE, ""))), arguments)
        return _report_bug()


def _is_want_of_descriptors(error: BaseException) -> bool:
    """Whether this is what `ulimit -n` does, wherever it met us: even a module is a file to open."""
    limits = (errno.EMFILE, errno.ENFILE)
    if isinstance(error, ImportError):  # of a shared library, which tells in words alone
        return any(os.strerror(number) in str(error) for number in limits)
    return isinstance(error, OSError) and error.errno in limits


def _run(arguments: list[str]) -> int:
    from pync.cli import quick

    parsed = quick.parse(arguments)
    if parsed is None:
        from pync.cli.parse import parse

        answer = parse(arguments)
        if isinstance(answer, int):
            return answer
        parsed = answer
    command, options = parsed
    from pync.cli.views import View
    from pync.commands.session import execute

    view = View(command, options)
    options.progress = view.wants_progress
    try:
        return int(execute(command, options, view))
    except PyncError as error:
        return _fail(view, error)
    finally:
        view.finish()


def _fail(view: View, error: PyncError) -> int:
    view.fail(error)
    return int(error.code)


def _tell(error: PyncError, arguments: list[str]) -> int:
    from pync.cli.views import say_failure

    say_failure(error, json="--json" in arguments)
    return int(error.code)


def _flush_stdout() -> None:
    """Help and version are buffered; a full disk must not go unnoticed."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        # Python would try again at exit and fail once more.
        sys.stdout = None
        raise LocalError(f"standard output: {reason(error)}") from None


def _report_bug() -> int:
    import traceback

    from pync import __version__
    from pync.cli.stderr import Stderr

    stderr = Stderr()
    stderr.write(traceback.format_exc())
    python = ".".join(str(part) for part in sys.version_info[:3])
    stderr.line(f"pync: this is a bug in pync {__version__} (Python {python}, {sys.platform})")
    stderr.line("hint: please report it with the lines above and the command that led to it")
    stderr.finish()
    return int(ExitCode.BUG)


def _open_missing_descriptors() -> None:
    """Descriptors 0-2 that were closed at start lead to /dev/null, so that no socket becomes one of them."""
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(fd)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != fd:
                os.dup2(opened, fd)
                os.close(opened)
            os.set_inheritable(fd, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(fd, "w" if fd else "r", closefd=False, encoding="utf-8"))  # noqa: SIM115


def _wait_for_children() -> None:
    """An inherited "ignore SIGCHLD" would make the exit status of our programs unknowable."""
    import signal

    if hasattr(signal, "SIGCHLD") and signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _die_of(signum: int) -> int:
    """Ends by that signal, as a shell expects of a program it interrupts; returns where that cannot be."""
    if sys.platform == "win32":  # os.kill would end us with another status
        return 128 + signum
    import signal

    try:
        signal.signal(signum, signal.SIG_DFL)
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signum})
        _save_measurement()
        os.kill(os.getpid(), signum)
    except (OSError, ValueError):
        pass
    return 128 + signum


def _leave(status: int) -> int:
    """Ends the process at once: the clean-up is done, and the interpreter's own costs milliseconds."""
    if sys.getprofile() is not None:  # a profiler writes what it has when the interpreter ends
        return status
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            pass
    os._exit(status)


def _save_measurement() -> None:
    """What coverage and profilers would write at the end of the interpreter, which never comes."""
    if "coverage" in sys.modules or sys.getprofile() is not None:
        import atexit

        atexit._run_exitfuncs()


if __name__ == "__main__":
    sys.exit(main())
