"""What users of other netcats type, and how pync spells it.

Letters whose meaning differs between netcats are refused with a hint instead of being guessed at:
OpenBSD's `-N` is what pync does anyway, traditional's `-q 1` would otherwise silence the program.
"""

from __future__ import annotations

from pync.cli.quick import names_a_scan
from pync.errors import PyncError

_LISTEN = "listening is a command of its own: pync listen PORT"
_FIN = "pync tells the peer when its input ended, as -N does; --no-shutdown is the opposite"
_NO_STDIN = "pync does not go into the background; to leave stdin alone: --recv-only, or </dev/null"
_KEEP = "only listen keeps open: pync listen -k PORT"
_ZERO = "-z belongs to connect: pync connect -z HOST PORT; for many ports: pync scan HOST -p PORTS"
_SOURCE_ROUTE = "source routing is not offered"

# Options of nc (OpenBSD, traditional), ncat and socat that pync does not know in that command.
_FOREIGN = {
    "-l": _LISTEN,
    "--listen": _LISTEN,
    "-N": _FIN,
    "-d": _NO_STDIN,
    "-D": "socket debugging is not offered; -v says more",
    "-k": _KEEP,
    "--keep-open": _KEEP,
    "-z": _ZERO,
    "--zero": _ZERO,
    "-r": "for random order: pync scan --randomize",
    "-b": "write --broadcast",
    "-T": "write --dscp N (the type of service is four times that)",
    "-M": "write --ttl N",
    "-I": "write --rcvbuf SIZE",
    "-O": "write --sndbuf SIZE",
    "-S": "TCP MD5 signatures are not offered",
    "-V": "routing tables are not offered; for the version: pync --version",
    "-W": "write --max-packets N",
    "-X": "write --proxy socks5://HOST:PORT, socks4://HOST:PORT or http://HOST:PORT",
    "-F": "passing descriptors is not offered",
    "-g": _SOURCE_ROUTE,
    "-G": _SOURCE_ROUTE,
    "-L": "keep listening with pync listen -k",
    "-E": "write -e 'PROG ARG...'",
    "-a": "write --allow LIST (listen)",
    "--ssl": "write --tls",
    "--ssl-verify": "pync verifies by default; write --tls",
    "--ssl-cert": "write --tls-cert FILE",
    "--ssl-key": "write --tls-key FILE",
    "--ssl-trustfile": "write --tls-ca FILE",
    "--ssl-servername": "write --tls-name NAME",
    "--ssl-alpn": "write --tls-alpn LIST",
    "--nodns": "write --numeric",
    "--unixsock": "write --unix, or unix:PATH as the endpoint",
    "--wait": "write --timeout D",
    "--append-output": "write --append",
    "--allowfile": "write --allow-file FILE",
    "--denyfile": "write --deny-file FILE",
    "--maxconns": "write --max-conns N",
    "--proxy-type": "write --proxy socks5://HOST:PORT",
    "--proxy-auth": "write --proxy socks5://USER:PASS@HOST:PORT, or set PYNC_PROXY_AUTH",
    "--proxy-dns": "write --proxy socks5h://HOST:PORT for names looked up by the proxy, socks5:// for here",
    "--no-shutdown": "only connect and listen know --no-shutdown",
    "--lua-exec": "write --exec 'PROG ARG...'",
    "--sctp": "SCTP is not offered",
    "--vsock": "vsock is not offered",
    "--max-size": "only recv knows --max-size",
}
_BY_COMMAND = {
    ("send", "-l"): "to wait for receivers: pync send --listen PORT PATH...",
    ("send", "-k"): "pync send --listen -k PORT PATH...",
    ("recv", "-l"): "recv listens by itself: pync recv PORT",
    ("recv", "--listen"): "recv listens by itself: pync recv PORT",
    ("listen", "-l"): "listen listens by itself: pync listen PORT",
    ("listen", "--listen"): "listen listens by itself: pync listen PORT",
    ("scan", "-z"): "scan only looks, as -z does: pync scan HOST -p PORTS",
    ("scan", "-i"): "write --rate N (probes a second)",
    ("scan", "-r"): "write --randomize",
    ("scan", "-T"): "pync finds its speed; to limit it: --rate N",
    ("scan", "-P"): "scan asks every host, no ping comes first",
    ("scan", "-o"): "write --json, --csv or --grepable and redirect stdout",
    ("scan", "-iL"): "the targets of a file: pync scan @FILE; of stdin: pync scan -",
    ("scan", "-iR"): "random targets are not offered",
    ("scan", "-F"): "the 100 most common ports are the default; to say so: -p top100",
    ("scan", "--top-ports"): "write -p top100",
    ("scan", "-A"): "for what services say of themselves: --banner",
    ("scan", "-O"): "no system is guessed at; for what services say of themselves: --banner",
    ("scan", "--max-rate"): "write --rate N (probes a second)",
    ("send", "-r"): "directories are sent whole by themselves",
    ("recv", "-d"): "write -o DIR/",
}


# nmap's kinds of scan, `-sX`: the first of these letters says most.
_SCANS = {
    "U": "for UDP write -u, or U:PORTS in a list of ports",
    "V": "for what services say of themselves: --banner",
    "C": "scripts are not offered; for what services say of themselves: --banner",
    "O": "IP protocols are not scanned",
    "n": "scan asks for ports, -p PORTS, no ping comes first",
    "P": "scan asks for ports, -p PORTS, no ping comes first",
    "L": "targets are not listed without asking them",
}
_CONNECTS = "scan connects, as -sT does, and needs no option for it"


def foreign(command: str, option: str, shown: str = "") -> str | None:
    """The hint for an option `command` does not have, or None; `shown` also says in which word it is."""
    word = shown.partition(" (in ")[2].rstrip(")")[:3]
    return _BY_COMMAND.get((command, word)) or _BY_COMMAND.get((command, option)) or _FOREIGN.get(option)


def kind_of_scan(arguments: list[str]) -> tuple[str, str] | None:
    """A `-sT`, `-sU`, `-sSV` of nmap's, and the hint for it: to pync it would be the source address T."""
    for word in arguments:
        if word == "--":
            return None
        letters = word.removeprefix("-s")
        if word.startswith("-s") and names_a_scan(letters):
            return word, next((hint for letter, hint in _SCANS.items() if letter in letters), _CONNECTS)
    return None


def quit_after(command: str, shown: str) -> str | None:
    """The hint for `-q1`, which Typer takes for `-q -1`: `shown` is its complaint."""
    option, _, word = shown.partition(" (in -q")
    seconds = word.rstrip(")")
    if command not in ("connect", "listen") or not seconds.isdigit() or option != f"-{seconds[0]}":
        return None
    return f"-q is --quiet; to end {seconds} s after our input ended: --quit-after {seconds}"


def after(command: str, arguments: list[str]) -> str | None:
    """The hint for words that are options pync knows, used as another netcat means them."""
    if command not in ("listen", "recv") or not any(_has_letter(word, "p") for word in arguments):
        return None
    meant = translate(["-l", *arguments])
    if meant is not None and meant != shell(["pync", "listen", *arguments]):
        return f"the port stands alone: {meant.replace('listen', command, 1)}"
    if "-p" in arguments[:-1]:
        port = arguments[arguments.index("-p") + 1]
        if port.isdigit():
            return f"the port stands alone: pync {command} {port}"
    return None


def _has_letter(word: str, letter: str) -> bool:
    return word.startswith("-") and not word.startswith("--") and letter in word


# What a whole command line for nc or ncat may hold: letter -> takes a value there.
_VALUES = frozenset("pwqiescoxXmTMIOWGgPV")
_SAME_SWITCH = frozenset("46nuUvkzCt")
_SAME_VALUE = frozenset("wsecmo")
_LONG_SWITCH = {"b": "--broadcast", "d": "--recv-only"}
_LONG_VALUE = {"M": "--ttl", "I": "--rcvbuf", "O": "--sndbuf", "W": "--max-packets", "i": "--delay"}
_UNTOLD = frozenset("TGgPV")  # what has no like of it here must not get lost in a hint
_PROXIES = {"4": "socks4", "5": "socks5", "connect": "http"}


def translate(arguments: list[str]) -> str | None:
    """A command line for another netcat in pync's words, or None where it can't be told."""
    kept: list[str] = []
    words: list[str] = []
    letters: set[str] = set()
    values: dict[str, str] = {}
    queue = list(arguments)
    while queue:
        word = queue.pop(0)
        if word == "--listen":
            letters.add("l")
        elif word in ("--ssl", "--tls"):
            kept.append("--tls")
        elif word.startswith("--"):
            kept.append(word)
        elif word.startswith("-") and len(word) > 1:
            _letters(word[1:], queue, kept, letters, values)
        else:
            words.append(word)
    if letters & _UNTOLD:
        return None
    command = "listen" if "l" in letters else "connect"
    port = values.get("p")
    kept += _proxy_or_dump(values)
    if port is not None:
        if command == "connect":
            kept += ["-p", port]
        elif len(words) < 2:
            words.append(port)
    if not _plausible(command, words, kept):
        return None
    if command == "connect" and "z" in letters and len(words) == 2 and "-" in words[1]:
        return shell(["pync", "scan", words[0], "-p", words[1]])
    return shell(["pync", command, *[word for word in kept if command == "listen" or word != "-k"], *words])


def _proxy_or_dump(values: dict[str, str]) -> list[str]:
    """`-x` is a proxy for OpenBSD's nc, of the kind that -X names, and a file for ncat."""
    target = values.get("x", "")
    host, _, port = target.rpartition(":")
    if "X" in values and "x" in values:
        scheme = _PROXIES.get(values["X"], "socks5")
        default = 3128 if scheme == "http" else 1080
        return ["--proxy", f"{scheme}://{target if host else f'{target}:{default}'}"]
    if host and port.isdigit() and "/" not in host:
        return ["--proxy", f"socks5://{target}"]
    return ["-x", target] if target else []


def _letters(
    cluster: str, queue: list[str], kept: list[str], letters: set[str], values: dict[str, str]
) -> None:
    """Reads one cluster of letters; `values` gets what only makes sense with others."""
    for place, letter in enumerate(cluster):
        letters.add(letter)
        if letter not in _VALUES:
            if letter in _SAME_SWITCH:
                kept.append(f"-{letter}")
            elif letter in _LONG_SWITCH:
                kept.append(_LONG_SWITCH[letter])
            continue
        value = cluster[place + 1 :] or (queue.pop(0) if queue else "")
        if letter in "pxX":
            values[letter] = value
        elif letter == "q":
            kept += ["--quit-after", value.lstrip("-")] if value != "-1" else []
        elif letter in _LONG_VALUE:
            kept += [_LONG_VALUE[letter], value]
        elif letter in _SAME_VALUE:
            kept += [f"-{letter}", value]
        break


def _plausible(command: str, words: list[str], kept: list[str]) -> bool:
    """Whether the words name an endpoint, so that the hint is a command that runs."""
    from pync.endpoint import take

    default = "unix" if "-U" in kept else "tcp"
    try:
        _, rest = take(words, listen=command == "listen", default=default)
    except PyncError:
        ranges = command == "connect" and "-z" in kept and len(words) == 2
        return ranges and words[1].replace("-", "").isdigit()
    return not rest


def shell(words: list[str]) -> str:
    """Words as a shell reads them back."""
    import shlex

    return shlex.join(words)
