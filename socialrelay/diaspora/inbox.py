"""Messages to the relay itself, as the rest of the relay uses them."""

from __future__ import annotations

from attrs import field, frozen
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from socialrelay.diaspora.envelope import MagicEnvelope, open_envelope
from socialrelay.diaspora.private import judge_private, open_private
from socialrelay.federation import PrivateProtocol, Sealed, Verdict, Wish


@frozen
class PrivateMessages:
    """
    @ivar key: the relay's own.
    @ivar recipient: the relay's handle.
    """

    recipient: str
    key: RSAPrivateKey = field(repr=False)

    def open(self, body: bytes) -> MagicEnvelope:
        """See L{open_private}."""
        return open_private(body, self.key)

    def judge(self, sealed: Sealed, key: RSAPublicKey) -> Wish | Verdict:
        """See L{judge_private}."""
        envelope = sealed if isinstance(sealed, MagicEnvelope) else open_envelope(sealed.body)
        return judge_private(envelope, key, self.recipient)


_conforms: type[PrivateProtocol] = PrivateMessages
