"""Authors' keys."""

from collections.abc import Collection
from datetime import date, datetime
from typing import Protocol

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from twisted.internet.defer import Deferred


@frozen
class HeldKey:
    """An author's public key and when it was read from the author's node."""

    key: RSAPublicKey
    fetched_at: datetime


class Profiles(Protocol):
    """Authors' keys, as discovered."""

    def get(self, handle: str) -> Deferred[tuple[str, datetime] | None]:
        """PEM (SubjectPublicKeyInfo) and when it was fetched."""

    def put(self, handle: str, pem: str, now: datetime) -> Deferred[None]: ...

    def used(self, handles: Collection[str], day: date) -> Deferred[None]: ...

    def remove(self, handle: str) -> Deferred[int]:
        """@return: how many went: one, or none."""

    def remove_host(self, host: str) -> Deferred[int]:
        """Those of all authors of a host and of its subdomains; how many went."""

    def count(self) -> Deferred[int]:
        """Of how many authors the key is kept."""

    def prune(self, unused_since: date) -> Deferred[int]: ...


class Keyring(Protocol):
    """Public keys of authors."""

    def at_hand(self, handle: str) -> HeldKey | None:
        """The key, if it is in memory."""

    def key(self, handle: str) -> Deferred[HeldKey]:
        """
        From memory, storage, or the author's node; all who ask meanwhile share one look-up.

        @raise KeyUnavailable: and when to ask again.
        """

    def refresh(self, handle: str) -> Deferred[HeldKey]:
        """
        The key as the author's node shows it now; at most once per author and hour, else the held one.

        @raise KeyUnavailable: and when to ask again.
        """

    def forget(self, handle: str) -> Deferred[int]:
        """@return: how many stored keys went: one, or none."""

    def forget_host(self, host: str) -> Deferred[int]:
        """The keys of all authors of a host and of its subdomains; how many stored ones went."""
