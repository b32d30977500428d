"""The accounts of destinations, in memory."""

from __future__ import annotations

from attrs import frozen

from socialrelay.boundaries.accounts import Account, Accounts, Examined
from socialrelay.scheduler.record import DestinationRecord
from socialrelay.storage.memory.tables import MemoryTables, answering


@frozen
class MemoryAccounts:
    """L{Accounts} of tables in memory."""

    _tables: MemoryTables

    @answering
    def examine(self, after: int, most: int, positions: int) -> Examined:
        """See L{Accounts.examine}."""
        numbers = sorted(number for number in self._tables.destinations if number > after)
        accounts: list[Account] = []
        left = positions
        for number in numbers[:most]:
            if left <= 0:
                break
            account, length = self._examine(self._tables.destinations[number], positions)
            accounts.append(account)
            left -= length
        last = accounts[-1].number if accounts and accounts[-1].number != numbers[-1] else None
        return Examined(tuple(accounts), last)

    def _examine(self, row: DestinationRecord, positions: int) -> tuple[Account, int]:
        """Its account, and how many positions were counted for it."""
        accounts, settled = self._tables.accounts, self._settled(row)
        position, posts = accounts.get(row.number, (None, 0))
        if position is None or (position != row.cursor and min(position, row.cursor) < self._tables.forgotten):
            if not row.missed:
                accounts[row.number] = row.cursor, settled
            return Account(row.number, row.host, None if row.missed else 0), 0
        upto = max(min(row.cursor, position + positions), position - positions)
        low, high = sorted((position, upto))
        named = sum(low < each <= high and row.number in post.recipients for each, post in self._tables.posts.items())
        posts += named if upto > position else -named
        accounts[row.number] = upto, posts
        known = upto == row.cursor and not row.missed
        return Account(row.number, row.host, settled - posts if known else None), high - low

    def _settled(self, row: DestinationRecord) -> int:
        alone = sum(number == row.number for number, _ in self._tables.deferred)
        return row.delivered + row.bounced - row.requeued + row.expired + row.cancelled - len(row.ahead) + alone


_conforms: type[Accounts] = MemoryAccounts
