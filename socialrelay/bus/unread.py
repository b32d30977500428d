"""Pages that a peer asked for and, as far as can be known, has not read."""

from __future__ import annotations

from collections import OrderedDict


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
