"""
Taking out what is known of an author, of a post, or of all authors of a host: because the author's account has ended, or because the
operator was asked to under data-protection law.

What is pending is cancelled before anything is removed: so each step may be done again, and whoever repeats the whole after storage was
away misses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from socialrelay.afterwards import Afterwards
from socialrelay.authors import Authors
from socialrelay.boundaries import BusStore, Incoming, Keyring, PostLog, Rejections, Statistics
from socialrelay.quota import ClientQuota

REASON = "erased"
"""Why a delivery is cancelled, as the operator reads it."""


@frozen
class Erased:
    """
    What was removed.

    @ivar posts: of the log: bodies and names; their digests stay, so that they are not relayed when they come again.
    @ivar waiting: bodies that waited to be judged, or could not be.
    @ivar rejections: reasons why something was not relayed.
    @ivar keys: of authors.
    @ivar wishes: of authors to be relayed; that somebody wishes not to be is kept.
    @ivar counts: per hour, of the host.
    @ivar messages: of the relay's own that the bus keeps; they name nobody now.
    """

    posts: int = 0
    waiting: int = 0
    rejections: int = 0
    keys: int = 0
    wishes: int = 0
    counts: int = 0
    messages: int = 0


@frozen
class Erasure:
    """
    Erases in all places.

    @ivar cancel: told of positions that are wanted no more, and why (L{socialrelay.delivery.dispatcher.Dispatcher.cancel}).
    @ivar afterwards: erases once more what was on its way to the bus.
    @ivar flush: writes what of counts and rejections is only in memory, so that it can be removed.
    """

    _posts: PostLog
    _incoming: Incoming
    _rejections: Rejections
    _statistics: Statistics
    _keyring: Keyring
    _authors: Authors
    _quota: ClientQuota
    _bus: BusStore
    _afterwards: Afterwards
    _cancel: Callable[[Sequence[int], str], None]
    _flush: Callable[[], Deferred[None]]

    _log = Logger()

    async def erase(self, *, author: str = "", guid: str = "", host: str = "") -> Erased:
        """
        Erase an author, the posts with a guid, or all authors of a host and of its subdomains.  To do it again does no harm.

        @param author: a handle, lower case.
        @param host: as L{socialrelay.routing.hosts.node_host} writes it.
        @raise ValueError: it is not exactly one of the three.
        @raise Unavailable: it is not done, or not all of it; do it again.
        """
        if sum(map(bool, (author, guid, host))) != 1:
            raise ValueError("exactly one of author, guid and host is erased")
        named = {"authors": [author] if author else [], "guids": [guid] if guid else [], "hosts": [host] if host else []}
        self._cancel(await self._posts.cancel(**named), REASON)
        posts = await self._posts.erase(author=author, guid=guid, host=host)
        self._cancel(posts, REASON)
        await self._flush()
        rejections = await self._rejections.erase(author=author, guid=guid, host=host)
        messages = await self._bus.erase(author=author, guid=guid, host=host)
        self._afterwards.erase(author=author, guid=guid, host=host)
        if guid:
            return self._done(Erased(posts=len(posts), rejections=rejections, messages=messages))
        waiting = await self._incoming.erase(author=author, host=host)
        for number in waiting:
            self._quota.released(number)
        keys = await (self._keyring.forget_host(host) if host else self._keyring.forget(author))
        wishes = await self._authors.erase(author=author, host=host)
        counts = await self._statistics.erase(host) if host else 0
        return self._done(Erased(len(posts), len(waiting), rejections, keys, wishes, counts, messages))

    def taken_back(self, author: str, guid: str) -> None:
        """A post was: the log has seen to itself, and what the bus keeps of it is seen to in a while."""
        self._afterwards.erase(author=author, guid=guid)

    def _done(self, erased: Erased) -> Erased:
        # Whom it concerned is not in the log: who asks to be forgotten would be named there.
        self._log.info("Erased what was known of somebody; posts: {count}.", count=erased.posts)
        return erased
