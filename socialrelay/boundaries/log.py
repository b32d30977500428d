"""The log of verified posts."""

from collections.abc import Collection
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Protocol

from attrs import Factory, frozen
from twisted.internet.defer import Deferred


@frozen
class Publication:
    """
    A verified post on its way into the log.

    @ivar recipients: destination numbers; best as L{socialrelay.routing.recipients.Recipients}.
    @ivar identities: SHA-256 hashes; if any of them is taken the post is a duplicate.
    @ivar digest: L{digest_of<socialrelay.digest.digest_of>} the body.
    @ivar incoming: the row of C{incoming} that it was; deleted in the same statement.
    @ivar retraction: it takes another post back. Its own names (author, guid, tags) are kept as long as its body is.
    @ivar withdraws: the position of that post, if it is in the log: in the same statement it is marked as cancelled, and its body and its
        names are removed; what it was sent to stays known.
    @ivar forestalls: hashes that are taken besides, whether they are free or not, from now on: the identity of the post that it takes back,
        so that it is not relayed when it comes, or comes again.
    """

    received_at: datetime
    published_at: datetime
    protocol: str
    kind: str
    author: str
    author_host: str
    guid: str
    tags: frozenset[str]
    recipients: AbstractSet[int]
    identities: tuple[bytes, ...]
    body: bytes
    incoming: int | None = None
    retraction: bool = False
    withdraws: int | None = None
    forestalls: tuple[bytes, ...] = ()
    digest: str = ""


@frozen
class LogEntry:
    """
    A post of the log as a destination reads it.

    @ivar digest: as in L{Publication}.
    @ivar received_at: when it was acknowledged; of what is read from the log only known to be no later than C{published_at}, and given so.
    """

    position: int
    author: str
    published_at: datetime
    size: int
    cancelled: bool = False
    digest: str = ""
    received_at: datetime = Factory(lambda self: self.published_at, takes_self=True)


@frozen
class Target:
    """A post that is to be taken back, as the log knows it."""

    position: int
    recipients: AbstractSet[int]


class PostLog(Protocol):
    """Verified posts, in the order in which they became visible."""

    def publish(self, publication: Publication) -> Deferred[int | None]:
        """
        Write a post, together with others that arrive in the same few milliseconds.

        Deferreds fire in the order of the positions: whoever admits posts to the queue as they fire, admits them in order.
        While storage is away one may stay unanswered: as long as it is not known whether the post was written.

        @return: its position, when it is durable; C{None} if it is a duplicate.
        @raise Unavailable: it was not written.
        @raise Full: more is waiting to be written than there may be.
        """

    def end(self) -> Deferred[int]:
        """The greatest position so far; 0 for an empty log."""

    def read(self, destination: int, after: int, upto: int) -> Deferred[list[LogEntry]]:
        """Posts that name the destination, C{after} < position <= C{upto}, in order. At most 5000 positions are asked for."""

    def bodies(self, positions: Collection[int]) -> Deferred[dict[int, bytes]]:
        """The bodies that are still kept."""

    def pending(self, destination: int, after: int, upto: int) -> Deferred[int]:
        """How many posts in C{after} < position <= C{upto} name the destination."""

    def cancel(
        self,
        *,
        authors: Collection[str] = (),
        guids: Collection[str] = (),
        hosts: Collection[str] = (),
        tags: Collection[str] = (),
    ) -> Deferred[list[int]]:
        """
        Mark as cancelled the posts of these authors, with these guids, of all authors of these hosts and their subdomains, and with these
        tags; never retractions. Posts that are being published at this moment are among them.

        @param tags: match keys.
        @return: their positions, of the last 7 days, each once.
        """

    def find(self, author: str, guid: str) -> Deferred[Target | None]:
        """The post of this author with this guid, as long as the log has its names; never a retraction."""

    def erase(self, *, author: str = "", guid: str = "", host: str = "") -> Deferred[list[int]]:
        """
        Take out what is known of posts: bodies, and names (author, guid, tags). They are marked as cancelled, their hashes stay.

        Exactly one of the three is given.  Retractions of such posts stay until they are delivered; those that are settled are erased too.
        Cancel first what the queue may hold: when this fails in the middle, nobody learns any more which posts it has erased.

        @param host: all authors of a host and of its subdomains.
        @return: the positions of the posts that were erased.
        """

    def oldest(self, lifetime_start: datetime) -> Deferred[int]:
        """The greatest position that is older than C{lifetime_start} or has lost its body; 0 if none."""

    def prune(self, now: datetime) -> Deferred[int]:
        """Forget what retention says, in one small batch; how many rows went."""
