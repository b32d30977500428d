"""Whether of each post at each node it is known what became of it: looked at while the relay runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from attrs import define, field
from twisted.logger import Logger

from socialrelay.boundaries import Account, Accounts
from socialrelay.words import counted

EVERY = 5.0
"""Seconds between two looks."""
DESTINATIONS = 1000
POSITIONS = 10_000
"""That one look has the database read at most, in one statement: some 10 ms for it, 50 where each post names ten thousand destinations."""


@define(eq=False)
class Auditor:
    """
    Examines the accounts of all destinations, some at a time, again and again.

    @ivar examined: looks at one account each, since the start.
    @ivar whole: when all had been looked at; C{None} before.
    """

    _log = Logger()

    _accounts: Accounts
    _now: Callable[[], datetime]
    examined: int = field(init=False, default=0)
    whole: datetime | None = field(init=False, default=None)
    _after: int = field(init=False, default=-1)
    _differences: dict[str, int] = field(init=False, factory=dict)

    @property
    def imbalance(self) -> int:
        """Posts that have no outcome at a destination and do not wait there either, or have one too many; all together."""
        return sum(map(abs, self._differences.values()))

    @property
    def differences(self) -> Mapping[str, int]:
        """Host -> by how many posts its account was out when it was last looked at, of those that were; below zero: so many are missing."""
        return self._differences

    async def look(self) -> None:
        """Examine the next ones."""
        found = await self._accounts.examine(self._after, DESTINATIONS, POSITIONS)
        for account in found.accounts:
            if account.difference is not None:
                self._note(account, account.difference)
        self._after = -1 if found.last is None else found.last
        if found.last is None:
            self.whole = self._now()

    def _note(self, account: Account, difference: int) -> None:
        self.examined += 1
        before = self._differences.pop(account.host, 0)
        if difference:
            self._differences[account.host] = difference
        if difference != before:
            self._tell(account.host, difference)

    def _tell(self, host: str, difference: int) -> None:
        posts = counted(abs(difference), "post")
        if difference < 0:
            self._log.error("The account of {host} does not add up: nobody knows what became of {posts}.", host=host, posts=posts)
        elif difference:
            self._log.error("The account of {host} does not add up: {posts} too many are settled.", host=host, posts=posts)
        else:
            self._log.info("The account of {host} adds up again.", host=host)
