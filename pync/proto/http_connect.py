"""HTTP CONNECT (RFC 9110, 9.3.6) as a handshake, with answers to 407.

The first request carries no credential: the proxy says first what it wants, so that a password never goes out
in the clear where Digest would do, and never to a proxy that did not ask. Then, in this order: Digest, Basic.
A challenge on a connection that cannot be used again (closed, of unknown length, HTTP/1.0) ends the handshake
with `Again`, and the caller runs another one on a new connection.

A 2xx answer to CONNECT has no body, whatever its Content-Length says; the tunnel's bytes come right behind
the head.
"""

from typing import NamedTuple

from pync.errors import IntegrityError, NetworkError
from pync.proto.handshake import Exactly, Handshake, Head, PeerClosed, Refused, Write
from pync.proto.http_auth import Challenge, Digest, basic, best_digest, challenges
from pync.proto.proxy_url import Credential, authority
from pync.proto.socks import name_bytes

HEAD_LIMIT = 65_536  # a Proxy-Authenticate with a Kerberos token is a few KiB; no honest head comes near this
_BODY_LIMIT = 65_536  # of an error page; beyond that a new connection is cheaper than reading on
_INTERIM_LIMIT = 16  # 1xx answers before the final one
_CHALLENGE_LIMIT = 4  # asked, answered, nonce gone stale, and one more

_WANTED = "the proxy wants a user name and password (407)"
_WANTED_HINT = "write them into the URL (http://NAME:PASSWORD@HOST:PORT) or PYNC_PROXY_AUTH"
_REFUSED = "the proxy refused the user name or password (407)"


class Again(NamedTuple):
    """Not yet: repeat the handshake on a new connection."""


class Login:
    """What has been agreed with one proxy about credentials; outlives a connection.

    `client_nonce` is a source of randomness that the caller gives: text, another one at every call.
    """

    def __init__(self, credential: Credential | None, client_nonce: "ClientNonce") -> None:
        self.credential = credential
        self._client_nonce = client_nonce
        self._digest: Digest | None = None
        self._basic = False
        self._answered = False  # the request under way carries an answer
        self._challenges = 0

    def authorization(self, target: str) -> bytes:
        """The header line for the next request, b"" when nothing was asked yet."""
        if self.credential is None or not (self._digest or self._basic):
            return b""
        self._answered = True
        if self._digest is None:
            return b"Proxy-Authorization: " + basic(self.credential) + b"\r\n"
        try:
            value = self._digest.answer(self.credential, "CONNECT", target, self._client_nonce())
        except ValueError as error:
            raise IntegrityError(f"the proxy wants Digest, which cannot carry {error}") from None
        return b"Proxy-Authorization: " + value + b"\r\n"

    def challenged(self, found: list[Challenge]) -> None:
        """Choose the answer to a 407; raises IntegrityError when there is none left to try."""
        if self.credential is None:
            raise IntegrityError(_WANTED, hint=_WANTED_HINT)
        self._challenges += 1
        digest = best_digest(found)
        if self._challenges >= _CHALLENGE_LIMIT or (self._answered and not self._stale(found, digest)):
            raise IntegrityError(_REFUSED)
        if digest is not None:
            self._digest = digest
        elif any(challenge.scheme == "basic" for challenge in found):
            self._digest, self._basic = None, True
        else:
            names = ", ".join(sorted({challenge.scheme for challenge in found})) or "nothing that can be read"
            raise IntegrityError(f"the proxy knows no authentication that pync knows (407: {names[:200]})")

    def _stale(self, found: list[Challenge], digest: Digest | None) -> bool:
        """Was the nonce refused and not the password? Then the same password may go out once more."""
        if self._digest is None or digest is None:
            return False
        return any(c.scheme == "digest" and c.parameters.get("stale", "").lower() == "true" for c in found)


class ClientNonce:
    """Makes the text of one client nonce a call."""

    def __call__(self) -> str:
        import os

        return os.urandom(16).hex()


class _Answer(NamedTuple):
    version: int  # the minor one: HTTP/1.0 or 1.1
    status: int
    words: str
    fields: list[tuple[str, str]]

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]

    def tokens(self, *names: str) -> list[str]:
        lists = [value for name in names for value in self.values(name)]
        return [token.strip().lower() for text in lists for token in text.split(",")]


def connect(host: str, port: int, login: Login) -> Handshake[Again | None]:
    """Ask for a tunnel to `host`:`port`. None: it stands. Again: see there.

    Raises IntegrityError for credentials that are wanted or refused, NetworkError for every other no.
    """
    target = authority(name_bytes(host.partition("%")[0]).decode("ascii"), port)
    reused = False
    while True:
        try:
            yield Write(_request(target, login.authorization(target)))
            answer = yield from _final_answer()
        except PeerClosed:
            if reused:
                return Again()  # it closed after the challenge without having said so
            raise
        if 200 <= answer.status < 300:
            return None
        if answer.status == 401:  # what tinyproxy says to a wrong password
            raise IntegrityError(_REFUSED.replace("407", "401"))
        if answer.status != 407:
            words = f" {answer.words}" if answer.words else ""
            raise Refused(f"the proxy answered {answer.status}{words}")
        login.challenged(challenges(answer.values("proxy-authenticate")))
        reused = yield from _skip_body(answer)
        if not reused:
            return Again()


def _request(target: str, authorization: bytes) -> bytes:
    place = target.encode("ascii")
    return b"CONNECT " + place + b" HTTP/1.1\r\nHost: " + place + b"\r\n" + authorization + b"\r\n"


def _final_answer() -> Handshake[_Answer]:
    for _ in range(_INTERIM_LIMIT):
        # Five bytes tell, so that a server that speaks something else is told apart before it goes silent.
        start = yield Exactly(5)
        if start != b"HTTP/":
            raise NetworkError("the proxy does not speak HTTP")
        answer = _parse(start + (yield Head(HEAD_LIMIT)))
        if not 100 <= answer.status < 200:
            return answer
        if answer.status == 101:
            break
    raise NetworkError("the proxy's answer makes no sense")


def _parse(head: bytes) -> _Answer:
    lines = head.decode("latin-1").replace("\r\n", "\n").split("\n")
    version, _, rest = lines[0].partition(" ")
    status, _, words = rest.strip().partition(" ")
    major, dot, minor = version.removeprefix("HTTP/").partition(".")
    if major != "1" or not dot or minor not in ("0", "1") or not _is_status(status):
        raise NetworkError("the proxy does not speak HTTP/1")
    fields: list[tuple[str, str]] = []
    for line in lines[1:]:
        if line[:1] in (" ", "\t") and fields:  # folded: obsolete, legal to receive
            name, value = fields[-1]
            fields[-1] = name, f"{value} {line.strip()}".strip()
            continue
        name, colon, value = line.partition(":")
        if colon:
            fields.append((name.strip().lower(), value.strip()))
    return _Answer(int(minor), int(status), _printable(words), fields)


def _is_status(text: str) -> bool:
    return len(text) == 3 and text.isascii() and text.isdigit() and text >= "100"


def _printable(words: str) -> str:
    """A reason phrase fit for a terminal: what came from the network may hold escape sequences."""
    return "".join(c for c in words[:100] if " " <= c <= "~").strip()


def _skip_body(answer: _Answer) -> Handshake[bool]:
    """Read the error page of a 407; whether another request may follow on this connection."""
    connection = answer.tokens("connection", "proxy-connection")
    lasting = "close" not in connection if answer.version == 1 else "keep-alive" in connection
    if not lasting:
        return False
    try:
        coding = answer.tokens("transfer-encoding")
        if coding:
            return coding == ["chunked"] and (yield from _skip_chunks())
        lengths = set(answer.tokens("content-length"))
        length = lengths.pop() if len(lengths) == 1 else ""
        if not (length.isascii() and length.isdigit() and len(length) < 10) or int(length) > _BODY_LIMIT:
            return False  # no length at all: the body lasts until the proxy closes
        if int(length):
            yield Exactly(int(length))
    except PeerClosed:
        return False
    return True


def _skip_chunks() -> Handshake[bool]:
    left = _BODY_LIMIT
    while True:
        line = b""
        while not line.endswith(b"\n"):
            line += yield Exactly(1)
            if len(line) > 1000:
                return False
        text = line.partition(b";")[0].strip()
        if not 1 <= len(text) <= 8 or text.strip(b"0123456789abcdefABCDEF"):
            return False
        size = int(text, 16)
        left -= size
        if left < 0:
            return False
        if size == 0:
            break
        yield Exactly(size)
        if (yield Exactly(1)) == b"\r":
            yield Exactly(1)
    # The trailer ends like a head does, but may be nothing but the empty line.
    first = yield Exactly(1)
    if first == b"\r":
        return (yield Exactly(1)) == b"\n"
    if first != b"\n":
        yield Head(HEAD_LIMIT)
    return True
