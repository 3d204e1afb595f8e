"""Answers to a proxy's 407: Proxy-Authenticate challenges parsed, Basic and Digest answers made.

Sources: RFC 9110 section 11 (the grammar of challenges), RFC 7617 (Basic), RFC 7616 and RFC 2069 (Digest with
and without qop). A header field may hold several challenges, a challenge either one token68 or parameters,
and the same commas separate both, which is why this is a small scanner and not a split.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import NamedTuple

from pync.proto.proxy_url import Credential

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'[ \t]*({_TOKEN})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))[ \t]*(?=,|$)')
_SCHEME = re.compile(rf"[ \t]*({_TOKEN})(?:[ \t]+|(?=,|$))")
_TOKEN68 = re.compile(r"([A-Za-z0-9._~+/-]+=*)[ \t]*(?=,|$)")

# Best first; the names as RFC 7616 spells them, and what hashlib calls them.
_ALGORITHMS = {"SHA-512-256": "sha512_256", "SHA-256": "sha256", "MD5": "md5"}


class Challenge(NamedTuple):
    """One scheme, in lower case, and its parameters; their names are in lower case too."""

    scheme: str
    parameters: dict[str, str]


def challenges(fields: Iterable[str]) -> list[Challenge]:
    """Every challenge in the values of the Proxy-Authenticate fields; what cannot be read is left out."""
    found: list[Challenge] = []
    for field in fields:
        found += _scan(field)
    return found


def _scan(text: str) -> list[Challenge]:
    found: list[Challenge] = []
    at = 0
    while at < len(text):
        if text[at] in ", \t":
            at += 1
        elif match := _PARAMETER.match(text, at):
            if found:
                name, quoted, bare = match.groups()
                value = bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
                found[-1].parameters.setdefault(name.lower(), value)
            at = match.end()
        elif match := _SCHEME.match(text, at):
            found.append(Challenge(match[1].lower(), {}))
            at = match.end()
            token68 = _TOKEN68.match(text, at)
            if token68 and not _PARAMETER.match(text, at) and not _is_scheme_alone(text, at):
                at = token68.end()
        else:  # not a challenge: go on behind the next comma
            comma = text.find(",", at)
            at = len(text) if comma < 0 else comma + 1
    return found


def _is_scheme_alone(text: str, at: int) -> bool:
    """A comma was left out between two schemes ("Negotiate Basic realm=..."): seen in the wild."""
    return text[at:].partition(",")[0].strip().lower() in ("basic", "digest")


class Digest:
    """A Digest challenge that we can answer; it counts its answers, because each needs another `nc`."""

    def __init__(self, parameters: dict[str, str]) -> None:
        """Raises ValueError for an algorithm or quality of protection that we do not know."""
        self._parameters = parameters
        name, dash, session = parameters.get("algorithm", "MD5").upper().rpartition("-SESS")
        self._session = dash != ""
        self._hash = _ALGORITHMS.get(name if dash else session, "")
        offered = [word.strip().lower() for word in parameters.get("qop", "").split(",")]
        self._qop = next((word for word in ("auth", "auth-int") if word in offered), "")
        if not self._hash or "nonce" not in parameters or (any(offered) and not self._qop):
            raise ValueError("unknown digest")
        hashlib.new(self._hash, usedforsecurity=False)  # ValueError where the system's policy forbids it
        self.strength = -list(_ALGORITHMS.values()).index(self._hash)
        self._count = 0

    @property
    def nonce(self) -> str:
        return self._parameters["nonce"]

    def answer(self, credential: Credential, method: str, target: str, client_nonce: str) -> bytes:
        """The value of Proxy-Authorization. Raises ValueError for a name that no header can carry."""
        if any(byte < 0x20 or byte == 0x7F for byte in credential.username):
            raise ValueError("control characters in the user name")
        self._count += 1
        count = f"{self._count:08x}"
        realm = self._parameters.get("realm", "")
        secret = self._digest(b":".join((credential.username, _raw(realm), credential.password)))
        if self._session:
            secret = self._digest(_raw(f"{secret}:{self.nonce}:{client_nonce}"))
        action = f"{method}:{target}"
        if self._qop == "auth-int":
            action += ":" + self._digest(b"")  # a CONNECT has no body
        middle = f"{self.nonce}:{count}:{client_nonce}:{self._qop}" if self._qop else self.nonce
        response = self._digest(_raw(f"{secret}:{middle}:{self._digest(_raw(action))}"))
        return self._header(credential, realm, target, response, count, client_nonce)

    def _header(
        self, credential: Credential, realm: str, target: str, response: str, count: str, client_nonce: str
    ) -> bytes:
        parameters = self._parameters
        name = credential.username
        userhash = parameters.get("userhash", "").lower() == "true"
        if userhash:
            name = self._digest(name + b":" + _raw(realm)).encode()
        parts = [b'username="' + re.sub(rb'(["\\])', rb"\\\1", name) + b'"']
        quoted = {"realm": realm, "nonce": self.nonce, "uri": target, "response": response}
        if "opaque" in parameters:
            quoted["opaque"] = parameters["opaque"]
        if self._qop or self._session:
            quoted["cnonce"] = client_nonce
        for key, value in quoted.items():
            escaped = re.sub(r'(["\\])', r"\\\1", value)
            parts.append(_raw(f'{key}="{escaped}"'))
        if "algorithm" in parameters:
            parts.append(_raw(f"algorithm={parameters['algorithm']}"))
        if self._qop:
            parts.append(_raw(f"qop={self._qop}, nc={count}"))
        if userhash:
            parts.append(b"userhash=true")
        return b"Digest " + b", ".join(parts)

    def _digest(self, data: bytes) -> str:
        return hashlib.new(self._hash, data, usedforsecurity=False).hexdigest()


def best_digest(found: Iterable[Challenge]) -> Digest | None:
    """The strongest Digest challenge that we can answer."""
    usable: list[Digest] = []
    for challenge in found:
        if challenge.scheme == "digest":
            try:
                usable.append(Digest(challenge.parameters))
            except ValueError:
                pass
    return max(usable, key=lambda digest: digest.strength, default=None)


def basic(credential: Credential) -> bytes:
    """The value of Proxy-Authorization: the userinfo as it was written."""
    from base64 import b64encode

    return b"Basic " + b64encode(credential.userinfo)


def _raw(text: str) -> bytes:
    # Heads are decoded as Latin-1, so that any byte a proxy put into its realm goes back as it came.
    return text.encode("latin-1")
