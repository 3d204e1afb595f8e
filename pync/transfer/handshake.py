"""The first words of a connection: greetings, and the proof that both ends know the same secret."""

from __future__ import annotations

from pync.errors import IntegrityError, NetworkError
from pync.proto import transfer as proto
from pync.transfer.wire import Lost, PeerAborted, Wire

# Guesses a sender grants to whoever answers in the receiver's place, over all its attempts.
GUESSES = 3


class Guessed(IntegrityError):
    """We proved that we know the secret and the other end left instead of doing the same: perhaps a guess."""

    def __init__(self) -> None:
        super().__init__("the other end did not prove that it knows the secret")


class Secret:
    """What the key exchange needs, decided once a run. `code` None: no secret."""

    def __init__(self, code: str | None) -> None:
        self.code = code
        self.aes = False
        if code is not None:
            import spake2  # noqa: F401  (30 ms to load: not while the other end waits for our answer)

            from pync.proto.secret import aes_is_faster, normalise

            normalise(code)  # raises for an empty one
            self.aes = aes_is_faster()

    @property
    def flags(self) -> int:
        """For the greeting."""
        if self.code is None:
            return 0
        return proto.FLAG_SECRET | (proto.FLAG_AES if self.aes else 0)


async def shake(wire: Wire, role: int, secret: Secret) -> None:
    """Greet, and agree on keys where a secret is wanted.

    Raises NotFramed, Lost, and IntegrityError: WrongSecret, Guessed, or one end wants a secret and the
    other not.
    """
    mine = proto.Greeting(role, secret.flags)
    theirs, raw = await wire.greeting(mine)
    if secret.code is None:
        wire.quiet = False
        return
    try:
        await _exchange(
            wire, role, secret, (mine.encode(), raw), aes=bool(theirs.flags & secret.flags & proto.FLAG_AES)
        )
    except TimeoutError:
        raise NetworkError("the other end did not finish the key exchange") from None


async def _exchange(
    wire: Wire, role: int, secret: Secret, greetings: tuple[bytes, bytes], *, aes: bool
) -> None:
    from pync.proto.secret import Exchange, WrongSecret

    assert secret.code is not None
    sends = role == proto.SENDS
    exchange = Exchange(secret.code, sender=sends)
    until = wire.loop.now() + wire.limits.greeting
    wire.put(proto.PAKE, exchange.message)
    await wire.flush()
    message = await _expect(wire, proto.PAKE, until)
    sender_greeting, receiver_greeting = greetings if sends else greetings[::-1]
    exchange.finish(message, sender_greeting=sender_greeting, receiver_greeting=receiver_greeting)
    if sends:
        wire.put(proto.PROOF, exchange.proof(sender=True))
        await wire.flush()
        try:
            exchange.check(await _expect(wire, proto.PROOF, until))
        except (Lost, TimeoutError):
            raise Guessed from None
        except PeerAborted as abort:
            if abort.code == IntegrityError.code:
                raise WrongSecret from None
            raise
    else:
        try:
            exchange.check(await _expect(wire, proto.PROOF, until))
        except WrongSecret as error:
            await wire.abort(int(error.code), error.message)
            raise
        wire.put(proto.PROOF, exchange.proof(sender=False))
        await wire.flush()
    wire.seal_with(*exchange.streams(aes=aes))
    wire.quiet = False


async def _expect(wire: Wire, kind: int, until: float) -> bytes:
    frame = await wire.frame(until)
    if frame.kind != kind:
        raise proto.ProtocolError("the peer answered out of turn")
    return frame.payload
