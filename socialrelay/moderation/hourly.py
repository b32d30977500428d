"""How much of one author, and of all authors of one host, is relayed in an hour."""

from __future__ import annotations

from collections.abc import Callable

from socialrelay.bounds import Bound, bound_of
from socialrelay.config import Memory, Policy
from socialrelay.ratelimit import Lru, TokenBuckets
from socialrelay.routing.hosts import host_of

HOUR = 3600.0


class HourlyLimits:
    """
    As many posts at once as may come in an hour, and then one after the other at that pace.

    Only verified posts are counted, so that nobody can use up what is another's.

    Only so many are remembered.  Whoever has not posted for longest is forgotten first, and may post as if for the first time; to make use
    of that takes as many authors with keys, or hosts, within an hour.
    """

    def __init__(self, policy: Policy, seconds: Callable[[], float], memory: Memory = Memory()) -> None:
        """
        @param seconds: a clock for durations.
        @param memory: how many are remembered.
        """
        self._most = memory.counted_authors, memory.counted_hosts
        self._seconds = seconds
        self._authors: TokenBuckets | None = None
        self._hosts: TokenBuckets | None = None
        self._limits = (0, 0)
        self.adjust(policy)

    def adjust(self, policy: Policy) -> None:
        """Take other limits. What came before does not count against new ones."""
        limits = (policy.posts_per_author, policy.posts_per_host)
        if limits != self._limits:
            self._limits = limits
            self._authors, self._hosts = _buckets(limits[0], self._most[0]), _buckets(limits[1], self._most[1])

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """What is in memory."""
        return (
            bound_of("counted-authors", lambda: self._authors or Lru(self._most[0])),
            bound_of("counted-hosts", lambda: self._hosts or Lru(self._most[1])),
        )

    def take(self, author: str) -> str:
        """
        An author's post is about to be relayed.

        @return: why it is too much; empty if it is not, and then it is counted.
        """
        if self._authors is None and self._hosts is None:
            return ""
        now = self._seconds()
        if self._authors is not None and self._authors.take(author, now):
            return "too-many-by-author"
        if self._hosts is not None and self._hosts.take(host_of(author), now):
            if self._authors is not None:
                self._authors.give_back(author)
            return "too-many-by-host"
        return ""

    def give_back(self, author: str) -> None:
        """It was not relayed after all: it is a duplicate, or could not be written."""
        if self._authors is not None:
            self._authors.give_back(author)
        if self._hosts is not None:
            self._hosts.give_back(host_of(author))


def _buckets(limit: int, keys: int) -> TokenBuckets | None:
    return TokenBuckets(limit / HOUR, limit, keys) if limit else None
