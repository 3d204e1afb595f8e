"""The flags of send and recv."""

from __future__ import annotations

from typing import Annotated

from pync.cli import values as of
from pync.cli.declare import ADDRESS, CLIENTS, FILES, ROLE, SECRET, TIME, flag
from pync.cli.flags import TlsFlags, Words


class TransferFlags(TlsFlags):
    udp: Annotated[bool, flag(ADDRESS, "-u --udp", "Reliable delivery over UDP datagrams: not there yet")]
    raw: Annotated[
        bool,
        flag(FILES, "--raw", "Plain bytes without framing, from one end to one: the other can be any netcat"),
    ]
    secret: Annotated[
        str,
        flag(
            SECRET,
            "--secret",
            "Encrypt, and let in only who knows the WORDS; without them: PYNC_SECRET, a prompt, "
            "or a new code",
            of.SECRET,
        ),
    ]
    secret_file: Annotated[
        str, flag(SECRET, "--secret-file", "The secret is the first line of FILE", of.FILE)
    ]
    tries: Annotated[
        int,
        flag(
            SECRET,
            "--tries",
            "Wrong secrets before giving up (default 3), 8s for another try",
            of.number(1, 1000),
        ),
    ]
    retry_for: Annotated[
        float, flag(TIME, "--retry-for", "Seek the other end that long (default 30s)", of.DURATION)
    ]
    no_fsync: Annotated[bool, flag(FILES, "--no-fsync", "Do not wait for the disk before confirming")]
    port_file: Annotated[
        str, flag(ROLE, "--port-file", "When listening: write the port to FILE once bound", of.FILE)
    ]
    ready_fd: Annotated[
        int,
        flag(ROLE, "--ready-fd", "When listening: write a newline to descriptor N", of.number(0, 1_048_575)),
    ]


class SendFlags(TransferFlags):
    listen: Annotated[bool, flag(ROLE, "--listen", "Wait for receivers instead of connecting")]
    to: Annotated[int, flag(CLIENTS, "--to", "With --listen: serve N receivers", of.number(1))]
    keep_open: Annotated[bool, flag(CLIENTS, "-k --keep-open", "With --listen: serve until stopped")]
    exclude: Annotated[
        Words,
        flag(
            FILES,
            "--exclude",
            "Leave out what matches (NAME, DIR/, DIR/NAME, /TOP); repeat",
            of.named("GLOB"),
        ),
    ]
    follow: Annotated[bool, flag(FILES, "--follow", "Send what symbolic links point at")]
    no_resume: Annotated[bool, flag(FILES, "--no-resume", "Start over, whatever already arrived")]
    compress: Annotated[
        str,
        flag(FILES, "--compress", "auto measures whether it pays", of.one_of("auto", "zstd", "none")),
    ]
    checksum: Annotated[
        str, flag(FILES, "--checksum", "Digest (default xxh3)", of.one_of("xxh3", "blake3", "sha256"))
    ]


class RecvFlags(TransferFlags):
    timeout: Annotated[
        float, flag(TIME, "-w --timeout", "Give up when no sender came within D (exit 3)", of.DURATION)
    ]
    connect: Annotated[bool, flag(ROLE, "--connect", "Connect to a 'send --listen' instead of waiting")]
    output: Annotated[
        str,
        flag(
            FILES, "-o --output", "File, directory (ends in / or exists), or - for stdout", of.named("PATH")
        ),
    ]
    overwrite: Annotated[
        bool, flag(FILES, "--overwrite", "Replace a file that exists, and the mode of a directory")
    ]
    rename: Annotated[bool, flag(FILES, "--rename", "Take another name if the file exists")]
    skip: Annotated[bool, flag(FILES, "--skip", "Keep the file that exists, skip the new one")]
    max_size: Annotated[int, flag(FILES, "--max-size", "Refuse more than that", of.SIZE)]
    yes: Annotated[bool, flag(FILES, "--yes", "Do not ask before the first file")]
    keep_open: Annotated[
        bool, flag(CLIENTS, "-k --keep-open", "When waiting: take more senders, several at once")
    ]
    count: Annotated[int, flag(CLIENTS, "--count", "When waiting: end after N senders", of.number(1))]
    secret_words: Annotated[
        int, flag(SECRET, "--secret-words", "Words of a code made here (default 2)", of.number(2, 16))
    ]
