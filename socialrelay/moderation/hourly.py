"""How much of one author, and of all authors of one host, is relayed in an hour."""

from __future__ import annotations

from collections.abc import Callable

from socialrelay.config import Policy
from socialrelay.ratelimit import TokenBuckets
from socialrelay.routing.hosts import host_of

HOUR = 3600.0
AUTHORS = 20_000
HOSTS = 10_000
"""
So many are remembered.  Whoever has not posted for longest is forgotten first, and may post as if for the first time; to make use of that
takes as many authors with keys, or hosts, within an hour.
"""


class HourlyLimits:
    """
    As many posts at once as may come in an hour, and then one after the other at that pace.

    Only verified posts are counted, so that nobody can use up what is another's.
    """

    def __init__(self, policy: Policy, seconds: Callable[[], float]) -> None:
        """@param seconds: a clock for durations."""
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
            self._authors, self._hosts = _buckets(limits[0], AUTHORS), _buckets(limits[1], HOSTS)

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
