"""--allow and --deny: the lists and files of a listener, names resolved once, files read again on SIGHUP."""

from __future__ import annotations

from pync.commands.options import ListenOptions
from pync.endpoint import Endpoint, host_of, resolve
from pync.errors import LocalError, PyncError, UsageError, reason
from pync.loop import Loop
from pync.report import Event, Report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pync.proto.access import AccessList, Name, Rule


class AccessRules:
    """Who may connect. Without any rule everybody, and nothing is imported."""

    def __init__(self, options: ListenOptions) -> None:
        self._options = options
        self._list: AccessList | None = None
        self._wanted = bool(options.allow or options.deny or options.allow_file or options.deny_file)

    def load(self) -> None:
        """Read everything; raises UsageError for a rule, LocalError for a file, NetworkError for a name."""
        if not self._wanted:
            return
        from pync.proto.access import AccessList

        options = self._options
        allow = self._rules(options.allow, options.allow_file)
        deny = self._rules(options.deny, options.deny_file)
        self._list = AccessList(allow if options.allow or options.allow_file else None, deny)

    def _rules(self, texts: tuple[str, ...], files: tuple[str, ...]) -> list[Rule]:
        from pync.proto.access import Name, parse, parse_file

        found: list[Rule | Name] = []
        for text in texts:
            found += parse(text)
        for path in files:
            try:
                with open(path, encoding="utf-8", errors="surrogateescape") as file:
                    found += parse_file(file.read(), name=path)
            except OSError as error:
                raise LocalError(f"{path}: {reason(error)}") from None
        rules: list[Rule] = []
        for rule in found:
            rules += self._resolved(rule) if isinstance(rule, Name) else [rule]
        return rules

    def _resolved(self, rule: Name) -> list[Rule]:
        name = rule.host
        if self._options.numeric:
            raise UsageError(f"access rule {name!r} is a name, and --numeric forbids look-ups")
        addresses = [host_of(address.sockaddr) for address in resolve(Endpoint("tcp", name, 0))]
        return list(rule.rules(addresses))

    def admits(self, sockaddr: Any) -> bool:
        """Whether a client from `sockaddr` may come in; that of a Unix client tells nothing about it."""
        if self._list is None:
            return True
        return self._list.admits(host_of(sockaddr) if isinstance(sockaddr, tuple) else "")

    def watch(self, loop: Loop, report: Report) -> None:
        """Read the files again on SIGHUP; a bad new list leaves the old one in force, and is said."""
        if not (self._options.allow_file or self._options.deny_file):
            return
        import signal

        if not hasattr(signal, "SIGHUP"):
            return  # nobody can ask for it on this system

        def reload() -> None:
            try:
                self.load()
            except PyncError as error:
                report(
                    Event("error", {"code": int(error.code), "message": error.message, "hint": error.hint})
                )
            else:
                report(Event("waiting", {"reason": "access lists were read again"}))

        try:
            loop.on_signal(signal.SIGHUP, reload)
        except ValueError:  # not the main thread: whoever uses us as a library has its own signals
            pass
