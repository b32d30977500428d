"""Whose posts are relayed: the operator's rules and the authors' own wishes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime

from twisted.logger import Logger

from socialrelay.boundaries import Contacts
from socialrelay.config import Memory, Policy
from socialrelay.federation import Verdict
from socialrelay.routing.hosts import host_of, within
from socialrelay.routing.rules import RuleBook

WISHES_OF_HOST = {True: 5_000, False: 10_000}
"""
Beside how many contacts of the same host one more is kept who wishes to be relayed, or not to be; of all, the former may be a fifth.

Anybody may make up authors on a host of their own.  A "yes" changes little, since most relays take whoever comes; so those never use up the
room of a "no", and a change of mind needs none.
"""

YES_SHARE = 5


class Authors:
    """
    Decides about authors, from memory.

    @ivar policy: what holds for all authors.
    @ivar wishes: handle -> whether that author wishes to be relayed; only those who said so.
    @ivar limit: how many of these there may be.
    @ivar turned_away: how many more there would have been.
    """

    _log = Logger()

    def __init__(
        self,
        contacts: Contacts,
        policy: Policy,
        rules: Callable[[], RuleBook],
        now: Callable[[], datetime],
        limit: int = Memory().contacts,
    ) -> None:
        self._contacts = contacts
        self.policy = policy
        self._rules = rules
        self._now = now
        self.limit = limit
        self.turned_away = 0
        self.wishes: dict[str, bool] = {}
        self._of_host: Counter[str] = Counter()

    async def load(self) -> None:
        """Take up what is stored."""
        self.wishes = dict(await self._contacts.all())
        self._of_host = Counter(map(host_of, self.wishes))

    def refuses(self, author: str) -> str:
        """Why this author's posts are not relayed; empty if they are."""
        refused = self._rules().refuses_author(author)
        if refused:
            return refused
        wish = self.wishes.get(author)
        if wish is False:
            return "unwished"
        return "" if wish or self.policy.uninvited else "uninvited"

    def refuses_post(self, verdict: Verdict) -> str:
        """Why a verified post is not relayed; empty if it is."""
        if self.policy.max_tags and len(verdict.tags) > self.policy.max_tags:
            return "too-many-tags"
        return self.refuses(verdict.author) or self._rules().refuses_tags(verdict.tags)

    def limits(self, verdict: Verdict) -> bool:
        """Whether a verified post that is not refused is kept and not relayed."""
        return self._rules().limits(verdict.author, verdict.tags)

    async def wish(self, author: str, wishes: bool) -> bool:
        """
        An author said whether to be relayed.

        @return: whether that is news; also if it is not kept for want of room.
        """
        if self.wishes.get(author) is wishes:
            return False
        if author not in self.wishes and not self._has_room(host_of(author), wishes):
            self.turned_away += 1
            self._log.warn("{handle} is not kept as a contact: there are too many already.", handle=author)
            return True
        await self._contacts.put(author, wishes, self._now())
        if author not in self.wishes:
            self._of_host[host_of(author)] += 1
        self.wishes[author] = wishes
        self._log.info("{handle} {wish} to be relayed.", handle=author, wish="wishes" if wishes else "does not wish")
        return True

    async def erase(self, *, author: str = "", host: str = "") -> int:
        """
        Forget that an author, or any of a host and of its subdomains, wished to be relayed.  That somebody wishes not to be is kept: it is
        the only way to obey.

        @return: how many wishes went.
        """
        gone = [each for each in self._named(author, host) if self.wishes[each]]
        for each in gone:
            await self._contacts.remove(each)
            if self.wishes.pop(each, None) is not None:
                self._of_host[host_of(each)] -= 1
        return len(gone)

    def _named(self, author: str, host: str) -> list[str]:
        if author:
            return [author] if author in self.wishes else []
        return [each for each in self.wishes if within(host_of(each), host)]

    def _has_room(self, host: str, wishes: bool) -> bool:
        in_all = self.limit // YES_SHARE if wishes else self.limit
        return self._of_host[host] < WISHES_OF_HOST[wishes] and len(self.wishes) < in_all
