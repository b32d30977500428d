"""The Diaspora federation protocol, as the rest of the relay uses it."""

from __future__ import annotations

from attrs import define
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from socialrelay.diaspora.entity import judge_entity
from socialrelay.diaspora.envelope import MagicEnvelope, open_envelope
from socialrelay.diaspora.hashtags import tag_keys
from socialrelay.federation import DeliveryRequest, FederationProtocol, Ruling, Sealed, Verdict

CONTENT_TYPE = "application/magic-envelope+xml"


@define(eq=False)
class Diaspora:
    """
    Public posts in magic envelopes.

    @ivar user_agent: how the relay names itself to nodes.
    @ivar reshares: relay these too.
    """

    user_agent: str
    reshares: bool = False

    def __attrs_post_init__(self) -> None:
        tag_keys("")  # Unicode's tables are read at the first use, which takes 50 ms: not while posts are waiting

    @property
    def name(self) -> str:
        """See L{FederationProtocol.name}."""
        return "diaspora"

    def open(self, body: bytes) -> MagicEnvelope:
        """See L{open_envelope}."""
        return open_envelope(body)

    def judge(self, sealed: Sealed, key: RSAPublicKey) -> Verdict:
        """See L{FederationProtocol.judge}."""
        envelope = sealed if isinstance(sealed, MagicEnvelope) else open_envelope(sealed.body)
        if not envelope.verifies(key):
            return Verdict(Ruling.REJECT, "bad-signature", author=envelope.sender)
        return judge_entity(envelope.payload, envelope.sender, reshares=self.reshares)

    def delivery(self, url: str, body: bytes) -> DeliveryRequest:
        """The bytes as they came; an empty C{Expect} keeps libcurl from asking before it sends, which few nodes answer."""
        return DeliveryRequest(url, (f"Content-Type: {CONTENT_TYPE}", f"User-Agent: {self.user_agent}", "Expect:"), body)


_conforms: type[FederationProtocol] = Diaspora
