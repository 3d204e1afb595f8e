"""Two hosts on a wire: path MTU, links that go down, what is multicast and broadcast, marks on packets."""

import re
import socket
import subprocess
import time

import pytest

from tests.e2e.sessions import one_line
from tests.harness import PYNC, Process, pattern

DATA = pattern(5_000_000)


def listening(processes, host, *words, **popen) -> tuple[Process, int]:
    """(process, port) of `pync listen WORDS` on that host, once it says so."""
    process = processes.spawn(*PYNC, "listen", *words, host=host, **popen)
    return process, int(process.expect(r"listening on .*:(\d+)$")[1])


def source(tmp_path, data):
    path = tmp_path / "source"
    path.write_bytes(data)
    return path.open("rb")


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_bulk_stream_between_hosts(processes, hosts, tmp_path, family):
    here, there = hosts
    address = getattr(there, family)
    listener, port = listening(processes, there, address, "0", stdin=subprocess.DEVNULL)
    with source(tmp_path, DATA) as stdin:
        done = processes.run("connect", address, str(port), stdin=stdin, host=here)
    assert done.code == 0, done
    assert listener.wait()[:2] == (0, DATA)


@pytest.mark.parametrize("options", [(), ("--datagram-size", "1400"), ("--datagram-size", "60000")])
@pytest.mark.parametrize("mtu", ["1500", "1000"])
def test_datagrams_larger_than_the_link_carries(processes, hosts, tmp_path, mtu, options):
    """The kernel's segmentation cannot cut them as it would like to: they go out one by one, in fragments."""
    here, there = hosts
    for host in hosts:
        host.run("ip", "link", "set", host.device, "mtu", mtu)
    data = pattern(65_507 * 2 + 1400 * 3)
    words = ("-u", "--max-bytes", str(len(data)), there.ipv4, "0")
    listener, port = listening(processes, there, *words, stdin=subprocess.DEVNULL)
    with source(tmp_path, data) as stdin:
        rate = ("--rate", "20M", "--send-only")
        done = processes.run("connect", "-u", *rate, *options, there.ipv4, str(port), stdin=stdin, host=here)
    assert done.code == 0, done
    assert listener.wait()[:2] == (0, data)


def test_a_link_that_goes_down_is_an_idle_timeout(processes, hosts):
    here, there = hosts
    listener, port = listening(processes, there, there.ipv4, "0")
    process = processes.pync("connect", "-i", "700ms", there.ipv4, str(port), host=here)
    process.write(b"x")
    listener.expect_out("x")
    there.run("ip", "link", "set", there.device, "down")
    done = process.wait()
    assert done.code == 3
    assert "idle" in one_line(done.err)


def test_a_link_that_comes_back_costs_nothing(processes, hosts, tmp_path):
    here, there = hosts
    listener, port = listening(processes, there, there.ipv4, "0", stdin=subprocess.DEVNULL)
    with source(tmp_path, DATA) as stdin:
        process = processes.pync("connect", "--rate", "5M", there.ipv4, str(port), stdin=stdin, host=here)
        listener.expect_bytes(100_000)
        there.run("ip", "link", "set", there.device, "down")
        assert not process.ends(0.3)
        there.run("ip", "link", "set", there.device, "up")
        assert process.wait(within=40).code == 0
    assert listener.wait()[:2] == (0, DATA)


def test_multicast_reaches_a_member(processes, hosts):
    here, there = hosts
    for host in hosts:
        host.run("ip", "route", "add", "224.0.0.0/4", "dev", host.device)
    group = "239.1.2.3"
    listener, port = listening(processes, there, "-u", "--multicast", group, "0.0.0.0", "0")
    end = time.monotonic() + 20
    while b"hello" not in listener.out:  # the membership report takes a moment
        assert time.monotonic() < end, listener.describe()
        done = processes.run("connect", "-u", "--send-only", group, str(port), input=b"hello", host=here)
        assert done.code == 0, done
        listener.ends(0.05)


def test_broadcast_needs_to_be_allowed(processes, hosts):
    here, there = hosts
    here.run("ip", "addr", "add", "10.98.0.1/24", "brd", "+", "dev", here.device)
    there.run("ip", "addr", "add", "10.98.0.2/24", "brd", "+", "dev", there.device)
    listener, port = listening(processes, there, "-u", "0.0.0.0", "0")
    words = ("connect", "-u", "--send-only", "10.98.0.255", str(port))
    done = processes.run(*words, input=b"hello", host=here)
    assert done.code != 0
    assert "--broadcast" in done.err
    assert processes.run(*words, "--broadcast", input=b"hello", host=here).code == 0
    listener.expect_out("hello")


def test_replies_to_a_broadcast_come_from_the_hosts_own_address(processes, hosts):
    here, there = hosts
    _, port = listening(processes, there, "-u", "--echo", "0.0.0.0", "0")
    here.run("ip", "addr", "add", "10.98.0.1/24", "brd", "+", "dev", here.device)
    there.run("ip", "addr", "add", "10.98.0.2/24", "brd", "+", "dev", there.device)
    words = ("connect", "-u", "--broadcast", "--quit-after", "2s", "10.98.0.255", str(port))
    done = processes.run(*words, input=b"hello", host=here)
    assert (done.code, done.out) == (0, b"hello")


def test_interface_is_used(processes, hosts):
    here, there = hosts
    _, port = listening(processes, there, there.ipv4, "0", stdin=subprocess.DEVNULL)
    bad = processes.run("connect", "--interface", "lo", "-w", "1", there.ipv4, str(port), host=here)
    assert bad.code in (1, 3), bad
    good = processes.run("connect", "--interface", here.device, there.ipv4, str(port), host=here)
    assert good.code == 0, good


IPV6_RECVTCLASS, IPV6_RECVHOPLIMIT = 66, 51


@pytest.mark.parametrize(("option", "value"), [("--dscp", 46), ("--ttl", 3)])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_marks_are_on_the_packets(processes, ipv6, option, value, host):
    family, level, name = {
        ("127.0.0.1", "--dscp"): (socket.AF_INET, socket.IPPROTO_IP, socket.IP_RECVTOS),
        ("127.0.0.1", "--ttl"): (socket.AF_INET, socket.IPPROTO_IP, 12),  # IP_RECVTTL
        ("::1", "--dscp"): (socket.AF_INET6, socket.IPPROTO_IPV6, IPV6_RECVTCLASS),
        ("::1", "--ttl"): (socket.AF_INET6, socket.IPPROTO_IPV6, IPV6_RECVHOPLIMIT),
    }[host, option]
    with socket.socket(family, socket.SOCK_DGRAM) as peer:
        peer.settimeout(20)
        peer.setsockopt(level, name, 1)
        peer.bind((host, 0))
        port = str(peer.getsockname()[1])
        done = processes.run("connect", "-u", option, str(value), "--send-only", host, port, input=b"x")
        assert done.code == 0, done
        _, ((_, _, mark),), _, _ = peer.recvmsg(10, 100)
    assert mark[0] == (value << 2 if option == "--dscp" else value)


def test_a_link_local_address_with_its_scope(processes, hosts):
    here, there = hosts
    listing = there.run("ip", "-6", "addr", "show", "dev", there.device, "scope", "link")
    there.run("sysctl", "-qw", f"net.ipv6.conf.{there.device}.accept_dad=0")
    address = re.search(r"inet6 (fe80::\S+)/", listing)
    if address is None:
        pytest.skip("no link-local address here")
    listener, port = listening(processes, there, "-6", "::", "0", stdin=subprocess.DEVNULL)
    end = time.monotonic() + 20
    while True:  # until duplicate address detection is over
        done = processes.run("connect", f"[{address[1]}%{here.device}]:{port}", input=b"hello", host=here)
        if done.code == 0 or time.monotonic() > end:
            break
    assert done.code == 0, done
    assert listener.wait()[:2] == (0, b"hello")


@pytest.fixture
def routed(hosts):
    """(here, there): `there` forwards what `here` sends to 10.50.0.0/24, as far as it knows a way."""
    here, there = hosts
    there.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.icmp_ratelimit=0")
    here.run("ip", "route", "add", "10.50.0.0/24", "via", there.ipv4)
    return here, there


def test_datagrams_to_an_unreachable_host_are_1(processes, routed):
    here, there = routed
    there.run("ip", "route", "add", "unreachable", "10.50.0.0/24")
    process = processes.pync("connect", "-u", "10.50.0.1", "9", host=here)
    process.write(b"anybody?")
    done = process.wait()
    assert done.code == 1
    assert "no route to host after 8 bytes sent" in one_line(done.err)
    assert processes.run("connect", "-z", "-u", "10.50.0.1", "9", host=here).code == 1


def test_a_smaller_link_on_the_way_ends_no_datagram_session(processes, routed):
    """The router's word about it is heard now, and is no failure: the system cuts what comes next."""
    here, there = routed
    there.run("ip", "link", "add", "narrow", "mtu", "1000", "type", "veth", "peer", "name", "beyond")
    for device in ("narrow", "beyond"):
        there.run("ip", "link", "set", device, "up")
    there.run("ip", "route", "add", "10.50.0.0/24", "dev", "narrow")
    there.run("ip", "neigh", "add", "10.50.0.1", "lladdr", "02:00:00:00:00:01", "dev", "narrow")
    process = processes.pync("connect", "-u", "-v", "10.50.0.1", "9", host=here)
    process.write(b"x" * 1400)
    process.until(lambda: "mtu 1000" in here.run("ip", "route", "get", "10.50.0.1"), "the smaller size")
    for _ in range(2):
        process.write(b"y" * 1400)
    done = process.finish()
    assert done.code == 0, done
    assert "sent 4.1 KiB" in done.err
