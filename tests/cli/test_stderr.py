"""Whatever stderr is, the program goes on."""

from __future__ import annotations

import fcntl
import os
import time

import pytest

from pync.cli.stderr import Stderr


def full_pipe() -> tuple[int, int]:
    """A pipe that nobody reads and that takes nothing more."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETFL, os.O_NONBLOCK)
    try:
        while True:
            os.write(writer, b"x" * 4096)
    except BlockingIOError:
        fcntl.fcntl(writer, fcntl.F_SETFL, 0)
    return reader, writer


def drain(reader: int) -> bytes:
    os.set_blocking(reader, False)
    data = bytearray()
    try:
        while chunk := os.read(reader, 65536):
            data += chunk
    except BlockingIOError:
        pass
    return bytes(data)


def test_a_full_pipe_never_blocks_and_is_written_later() -> None:
    reader, writer = full_pipe()
    try:
        stderr = Stderr(writer)
        begin = time.monotonic()
        for number in range(100):
            stderr.line(f"line {number}")
        assert time.monotonic() - begin < 5
        drain(reader)
        stderr.line("last")
        assert drain(reader) == b"".join(b"line %d\n" % number for number in range(100)) + b"last\n"
    finally:
        os.close(reader)
        os.close(writer)


def test_what_waits_is_bounded_and_the_end_comes_soon() -> None:
    reader, writer = full_pipe()
    try:
        stderr = Stderr(writer)
        for _ in range(300):
            stderr.write("x" * 10_000)
        assert len(stderr._waiting) <= 1 << 20
        begin = time.monotonic()
        stderr.finish()
        assert time.monotonic() - begin < 5
    finally:
        os.close(reader)
        os.close(writer)


def test_a_reader_that_left_costs_only_the_words() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        stderr = Stderr(writer)
        stderr.line("one")
        stderr.line("two")
        stderr.finish()
    finally:
        os.close(writer)


def test_a_closed_descriptor_and_a_full_disk_cost_only_the_words() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    Stderr(writer).line("one")
    if os.path.exists("/dev/full"):
        full = os.open("/dev/full", os.O_WRONLY)
        try:
            Stderr(full).line("one")
        finally:
            os.close(full)


@pytest.mark.parametrize("text", ["caf\xe9", "\udc80", "\U0001f600"])
def test_any_text_can_be_written(text: str) -> None:
    reader, writer = os.pipe()
    try:
        Stderr(writer).line(text)
        assert drain(reader).endswith(b"\n")
    finally:
        os.close(reader)
        os.close(writer)
