"""
What a federation protocol tells the rest of the relay.

A protocol's package (L{socialrelay.diaspora}, later its siblings) turns bytes into these values; nothing outside it knows
what a magic envelope is.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey


class Ruling(Enum):
    """What becomes of a body once it is judged."""

    RELAY = "relay"
    RETRACT = "retract"
    IGNORE = "ignore"
    REJECT = "reject"


@frozen
class Verdict:
    """
    A body judged.

    @ivar reason: why it is not relayed, a name such as C{bad-signature}; empty for L{Ruling.RELAY} and L{Ruling.RETRACT}.
    @ivar kind: the entity's name on the wire (C{status_message}); empty when the body was not read that far.
    @ivar author: the author's handle; empty when not known.
    @ivar guid: the identifier of the post, or of the target of a retraction.
    @ivar tags: match keys, without C{#}.
    @ivar identities: SHA-256 hashes that this post occupies in the log: of its identity and of its decoded data.
    @ivar target: of a retraction: the hash of the identity of the post that it takes back.
    """

    ruling: Ruling
    reason: str = ""
    kind: str = ""
    author: str = ""
    guid: str = ""
    tags: frozenset[str] = frozenset()
    identities: tuple[bytes, ...] = ()
    target: bytes = b""


class NotAnEnvelope(Exception):
    """
    The body is nothing that a node would send; the client is told so with 400.

    @ivar reason: a name such as C{not-xml}.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Refused(Exception):
    """
    The body is an envelope, and certainly not a valid one: it is acknowledged (a retry would not help) and dropped.

    @ivar reason: a name such as C{bad-alg}.
    @ivar sender: the handle that the envelope names, empty if it names none.
    """

    def __init__(self, reason: str, sender: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.sender = sender


class Sealed(Protocol):
    """
    A body that was read and whose signature was not yet checked.

    C{sender} is the handle whose key must verify it; C{body} are the bytes to keep, verify and forward; C{recalls} says that it may take
    back what was relayed before, which is heard also of those who are relayed no more.
    """

    @property
    def sender(self) -> str: ...

    @property
    def body(self) -> bytes: ...

    @property
    def recalls(self) -> bool: ...


@frozen
class DeliveryRequest:
    """
    One HTTP POST, ready to be sent.

    @ivar headers: complete lines, C{"Name: value"}.
    """

    url: str
    headers: tuple[str, ...]
    body: bytes


class FederationProtocol(Protocol):
    """
    A wire protocol as the relay uses it. Pure: no clock, no network, no storage.
    """

    @property
    def name(self) -> str:
        """The name under which posts and destinations of this protocol are stored, C{"diaspora"}."""

    def open(self, body: bytes) -> Sealed:
        """
        Read a received body as far as is possible without the sender's key.

        @raise NotAnEnvelope: it is to be answered with 400.
        @raise Refused: it is to be acknowledged and dropped.
        """

    def judge(self, sealed: Sealed, key: RSAPublicKey) -> Verdict:
        """Check the signature, read the payload and say what becomes of it. Never raises for what is in the body."""

    def delivery(self, url: str, body: bytes) -> DeliveryRequest:
        """The request that delivers C{body}; asked for when it is sent."""


@frozen
class Wish:
    """
    An author has said whether the relay may pass on their posts; the last word counts.

    @ivar wishes: they are to be relayed.
    """

    author: str
    wishes: bool


class PrivateProtocol(Protocol):
    """Messages to the relay itself. Pure, but for the relay's private key, which it holds."""

    def open(self, body: bytes) -> Sealed:
        """
        Decrypt a body.

        @raise Refused: it is to be dropped.
        """

    def judge(self, sealed: Sealed, key: RSAPublicKey) -> Wish | Verdict:
        """Check the signature and say what the message asks for."""
