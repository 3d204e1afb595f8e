"""The secret of a transfer: from a short code to an encrypted, authenticated stream. Sans-IO.

How: SPAKE2 (Ed25519 group) turns a code that is easy to say into a strong key, with the sender as A and the
receiver as B. The key is bound to everything both said so far: HKDF-SHA256 salted with SHA-256 over both
greetings and both SPAKE2 messages gives one key a direction and one proof key a side. The sender proves first
that it knows the key, then the receiver; only after that anything about the files is said. Then all bytes
travel in records, sealed with AES-256-GCM if both CPUs do AES in hardware, else ChaCha20-Poly1305:

    length of the sealed part (4; the top bit marks the last record of this direction), sealed part (at most
    2 MiB and its tag of 16)

The nonce is the record's number (8), three zero bytes and the last-mark (1), the header is authenticated
too: a record that is changed, moved, repeated, left out, or missing at the end does not open (the STREAM
construction of Hoang, Reyhanitabar, Rogaway and Vizar, "Online Authenticated-Encryption and its Nonce-Reuse
Misuse-Resistance").

What an attacker gets. One who listens: the times and sizes of records, nothing else, not even by trying all
codes later. One who answers or connects in our place: one guess a connection, and each wrong one is noticed
by both ends and counted; a receiver stops after three (`--tries`), but not while it serves somebody: then it
stops when that is done, and hears nobody new after a hundred more. With the default code, 99 * 512 * 512
(24.6 bits), three guesses succeed once in 8.6 million times; `--secret-words 4` makes that once in 2 *
10**12. One who cuts: a failed transfer, never a shortened one. Who knows the code is trusted: it is not
tied to a person, and anybody who saw it may use it while the receiver waits. A secret you choose yourself
is as strong as it is hard to guess in those few tries.
"""

from __future__ import annotations

import hashlib
import hmac
import struct

from pync.errors import IntegrityError, UsageError
from pync.proto.transfer import ProtocolError
from pync.proto.words import WORDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Plain bytes in one record. Smaller ones would stay in a core's own cache, and are slower all the same: each
# costs both ends system calls, and hands the processor to and fro between them.
RECORD_MAX = 2 << 20
TAG_SIZE = 16
HEADER = struct.Struct("!I")
LAST = 1 << 31
NUMBERS = 99

MESSAGE_MAX = 64


class WrongSecret(IntegrityError):
    """The other end does not know the secret."""

    def __init__(self) -> None:
        super().__init__("the secret is wrong: the two ends do not know the same words")


def make_code(words: int = 2) -> str:
    """A fresh code such as `7-otter-violin`, from the system's random source."""
    import secrets

    picked = (secrets.choice(WORDS) for _ in range(words))
    return "-".join((str(1 + secrets.randbelow(NUMBERS)), *picked))


def normalise(code: str) -> bytes:
    """The bytes that enter the key exchange: what people change when they retype a code does not count."""
    import unicodedata

    words = unicodedata.normalize("NFKC", code).casefold().replace("-", " ").replace("_", " ").split()
    if not words:
        raise UsageError("--secret: there is no word in it")
    return " ".join(words).encode("utf-8", "surrogatepass")


class Exchange:
    """One key exchange. `message` goes out, `finish` takes the peer's, then the two proofs are compared."""

    def __init__(self, code: str, *, sender: bool) -> None:
        from spake2 import SPAKE2_A, SPAKE2_B

        side = SPAKE2_A if sender else SPAKE2_B
        self._sender = sender
        self._spake = side(normalise(code), idA=b"pync transfer sender", idB=b"pync transfer receiver")
        self.message: bytes = self._spake.start()
        self._keys: dict[str, bytes] = {}
        self._transcript = b""

    def finish(self, theirs: bytes, *, sender_greeting: bytes, receiver_greeting: bytes) -> None:
        """Derive the keys. Raises ProtocolError for a message that is none (or our own, reflected)."""
        if not 0 < len(theirs) <= MESSAGE_MAX:
            raise ProtocolError("the peer's key exchange is damaged")
        try:
            shared: bytes = self._spake.finish(theirs)
        except Exception as error:  # spake2 raises many kinds, all meaning "not a valid message"
            raise ProtocolError("the peer's key exchange is damaged") from error
        a, b = (self.message, theirs) if self._sender else (theirs, self.message)
        digest = hashlib.sha256()
        for part in (sender_greeting, receiver_greeting, a, b):
            digest.update(HEADER.pack(len(part)) + part)
        self._transcript = digest.digest()
        for label in ("sender stream", "receiver stream", "sender proof", "receiver proof"):
            self._keys[label] = _hkdf(shared, self._transcript, f"pync transfer 1 {label}".encode())

    def proof(self, *, sender: bool) -> bytes:
        """What the sender (or the receiver) shows to prove that it has the key."""
        key = self._keys["sender proof" if sender else "receiver proof"]
        return hmac.digest(key, self._transcript, "sha256")

    def check(self, proof: bytes) -> None:
        """Raises WrongSecret unless `proof` is the peer's."""
        if not hmac.compare_digest(proof, self.proof(sender=not self._sender)):
            raise WrongSecret

    def streams(self, *, aes: bool) -> tuple[Sealer, Opener]:
        """Our direction and the peer's."""
        ours, theirs = ("sender", "receiver") if self._sender else ("receiver", "sender")
        return (
            Sealer(_cipher(self._keys[f"{ours} stream"], aes=aes)),
            Opener(_cipher(self._keys[f"{theirs} stream"], aes=aes)),
        )


def _hkdf(secret: bytes, salt: bytes, info: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(secret)


def _cipher(key: bytes, *, aes: bool) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

    return AESGCM(key) if aes else ChaCha20Poly1305(key)


def aes_is_faster() -> bool:
    """Measure it: half a millisecond tells more than any list of CPU flags."""
    from time import perf_counter

    data, nonce = bytes(1 << 17), bytes(12)
    ciphers = [_cipher(bytes(32), aes=aes) for aes in (True, False)]
    best = [1.0, 1.0]
    for _ in range(4):  # the first round warms up, others may be disturbed: the best one counts
        for i, cipher in enumerate(ciphers):
            begin = perf_counter()
            cipher.encrypt(nonce, data, None)
            best[i] = min(best[i], perf_counter() - begin)
    return best[0] <= best[1]


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(8, "big") + (b"\0\0\0\1" if last else b"\0\0\0\0")


class Sealer:
    """Plain bytes in, records of at most `most` of them out."""

    most = RECORD_MAX

    def __init__(self, cipher: Any) -> None:
        self._cipher = cipher
        self._into = getattr(cipher, "encrypt_into", None)  # cryptography 47 and later: no copy
        self._number = 0
        self._ended = False

    def seal_into(self, plain: memoryview, out: memoryview, *, last: bool = False) -> int:
        """Seal `plain` (at most RECORD_MAX) as one record at the start of `out`; the record's length."""
        if self._ended:
            raise ValueError("a record after the last one")
        length = len(plain) + TAG_SIZE
        header = HEADER.pack(length | (LAST if last else 0))
        nonce = _nonce(self._number, last)
        self._number += 1
        self._ended = last
        end = HEADER.size + length
        out[: HEADER.size] = header
        if self._into is not None:
            self._into(nonce, plain, header, out[HEADER.size : end])
        else:
            out[HEADER.size : end] = self._cipher.encrypt(nonce, plain, header)
        return end

    def seal(self, plain: bytes | memoryview, *, last: bool = False) -> bytes:
        """One record."""
        out = bytearray(HEADER.size + len(plain) + TAG_SIZE)
        with memoryview(out) as view:
            self.seal_into(memoryview(plain), view, last=last)
        return bytes(out)


class Opener:
    """Records in, plain bytes out. `ended` once the last record was opened."""

    def __init__(self, cipher: Any) -> None:
        self._cipher = cipher
        self._into = getattr(cipher, "decrypt_into", None)
        self._number = 0
        self.ended = False

    def record_size(self, header: memoryview | bytes) -> int:
        """The length of the record that starts with `header`; raises ProtocolError for an impossible one."""
        (word,) = HEADER.unpack_from(header)
        length = word & ~LAST
        if not TAG_SIZE <= length <= RECORD_MAX + TAG_SIZE or self.ended:
            raise ProtocolError("the encrypted stream was damaged or changed on the way")
        return HEADER.size + int(length)

    def is_last(self, header: memoryview | bytes) -> bool:
        """Whether the record that starts with `header` ends this direction, if that is true."""
        return bool(HEADER.unpack_from(header)[0] & LAST)

    def pass_on(self) -> int:
        """Count a record, not the last one, that somebody else opens: the number to give to `open_as`."""
        number = self._number
        self._number += 1
        return number

    def open_as(self, number: int, record: memoryview, out: memoryview) -> int:
        """Open the record of that number into the start of `out`; the number of plain bytes. Any thread
        may."""
        from cryptography.exceptions import InvalidTag

        header = bytes(record[: HEADER.size])
        size = len(record) - HEADER.size - TAG_SIZE
        nonce = _nonce(number, self.is_last(header))
        try:
            if self._into is not None:
                self._into(nonce, record[HEADER.size :], header, out[:size])
            else:
                out[:size] = self._cipher.decrypt(nonce, record[HEADER.size :], header)
        except InvalidTag as error:
            raise ProtocolError("the encrypted stream was damaged or changed on the way") from error
        return size

    def open_into(self, record: memoryview, out: memoryview) -> int:
        """Open exactly the next record into the start of `out`; the number of plain bytes."""
        size = self.open_as(self._number, record, out)
        self._number += 1
        self.ended = self.is_last(record)
        return size

    def open(self, record: bytes | memoryview) -> bytes:
        """The plain bytes of one record."""
        out = bytearray(max(0, len(record) - HEADER.size - TAG_SIZE))
        with memoryview(out) as view:
            self.open_into(memoryview(record), view)
        return bytes(out)
