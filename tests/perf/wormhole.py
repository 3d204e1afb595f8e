"""magic-wormhole with servers of its own, all of it on 127.0.0.1, installed where nothing else is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.perf import Bench
from tests.perf.bench import LIMIT

PACKAGES = ("magic-wormhole", "magic-wormhole-mailbox-server", "magic-wormhole-transit-relay")
CODE = "7-otter-violin"
INSTALLING = 240.0
# It would offer every address of this machine to its peer: the measurement stays on the loopback.
_CLIENT = """
from wormhole import ipaddrs
ipaddrs.find_addresses = lambda: ["127.0.0.1"]
from wormhole.cli.cli import wormhole
wormhole()
"""


def _folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    major, minor = sys.version_info[:2]
    return Path(cache) / "pync-perf" / f"wormhole-{major}.{minor}"


def missing() -> str | None:
    """Install it unless that was done before; why it is not there."""
    folder = _folder()
    done = folder / "installed"
    if done.exists():
        return None
    shutil.rmtree(folder, ignore_errors=True)
    pip = (str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *PACKAGES)
    try:
        for command in ((sys.executable, "-m", "venv", str(folder)), pip):
            subprocess.run(command, check=True, capture_output=True, timeout=INSTALLING)
    except (OSError, subprocess.SubprocessError) as error:
        return f"magic-wormhole cannot be installed: {error}"
    done.touch()
    return None


def _servers(bench: Bench) -> tuple[str, ...]:
    """Start the mailbox and the relay: the options that lead a client to them."""
    twist = str(_folder() / "bin" / "twist")
    listen = "--port=tcp:0:interface=127.0.0.1"
    mailbox = bench.spawn(twist, "wormhole-mailbox", listen, "--channel-db=:memory:")
    relay = bench.spawn(twist, "transitrelay", listen)
    return (
        f"--relay-url=ws://127.0.0.1:{mailbox.bound()}/v1",
        f"--transit-helper=tcp:127.0.0.1:{relay.bound()}",
    )


def deliver(bench: Bench, out: Path, source: Path) -> float:
    """Seconds from the start of the second end, the first one waiting for it, until both are done."""
    client = (str(_folder() / "bin" / "python"), "-c", _CLIENT, *_servers(bench))
    sender = bench.spawn(*client, "send", "--hide-progress", "--code", CODE, source)
    sender.expect("wormhole receive")
    bench.free_memory()
    begin = bench.now()
    receiver = bench.spawn(*client, "receive", "--hide-progress", "--accept-file", "-o", out, CODE)
    done = receiver.wait(within=LIMIT)
    assert done.code == 0, receiver.describe()
    bench.check(sender)
    seconds = bench.now() - begin
    assert (out / source.name).stat().st_size == source.stat().st_size
    return seconds
