"""Pages that a peer asked for and, as far as can be known, has not read."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable


class UnreadPages:
    """
    What of the pages that were sent to a peer is unread, as far as can be known: it has read up to where it goes on.

    @ivar unread: bytes.
    """

    def __init__(self) -> None:
        self.unread = 0
        self._ends: OrderedDict[int, int] = OrderedDict()

    def sent(self, end: int, size: int) -> None:
        """@param end: what comes after this number follows the page."""
        self.unread += size
        self._ends[end] = self._ends.pop(end, 0) + size

    def goes_on(self, since: int | None) -> None:
        """It asks for what follows this number: if that ends a page, it has read that one, and those before it."""
        if since not in self._ends:
            return
        while self._ends:
            end, size = self._ends.popitem(last=False)
            self.unread -= size
            if end == since:
                return


class Unread:
    """
    That of all peers, within bounds.  Nobody tells when one goes away: what was sent so long ago that the connection would have been closed
    if it had not been read counts no longer.

    @ivar total: bytes.
    """

    def __init__(self, seconds: Callable[[], float], each: int, all_: int, patience: float) -> None:
        """
        @param seconds: a clock that never goes back.
        @param each: bytes of a peer.
        @param all_: of all of them.
        @param patience: seconds after which a connection is closed on which nothing is read.
        """
        self.total = 0
        self._seconds = seconds
        self._each = each
        self._all = all_
        self._patience = patience
        self._peers: OrderedDict[bytes, UnreadPages] = OrderedDict()
        self._until: dict[bytes, float] = {}

    def goes_on(self, peer: bytes, since: int | None) -> None:
        """It asks for what follows this number."""
        pages = self._peers.get(peer)
        if pages is not None:
            self.total -= pages.unread
            pages.goes_on(since)
            self.total += pages.unread
            if not pages.unread:
                self._forget(peer)

    def full(self, peer: bytes) -> bool:
        """Whether a peer has left as much unread as one may."""
        self._look()
        pages = self._peers.get(peer)
        return pages is not None and pages.unread >= self._each

    def crowded(self) -> bool:
        """Whether all of them together have."""
        self._look()
        return self.total >= self._all

    def sent(self, peer: bytes, end: int, size: int) -> None:
        """@param end: what comes after this number follows the page."""
        self._peers.setdefault(peer, UnreadPages()).sent(end, size)
        self._peers.move_to_end(peer)
        self._until[peer] = self._seconds() + self._patience
        self.total += size

    def _look(self) -> None:
        now = self._seconds()
        while self._peers and self._until[oldest := next(iter(self._peers))] <= now:
            self._forget(oldest)

    def _forget(self, peer: bytes) -> None:
        self.total -= self._peers.pop(peer).unread
        del self._until[peer]
