"""Posts that were taken, and that rules block since then: marked in the log, and taken out of what is queued."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from attrs import frozen

from socialrelay.boundaries import PostLog
from socialrelay.routing.rules import RuleBook
from socialrelay.unhurried import Unhurried

REASON = "blocked by the operator"
"""Why a delivery is cancelled."""

AT_ONCE = 500
"""Destinations at which posts are cancelled in one go: each post is looked for at each of them."""


@frozen
class BlockedPosts:
    """
    Cancels them.

    @ivar cancel: told of positions that are wanted no more, why, and at which destinations
        (L{socialrelay.delivery.dispatcher.Dispatcher.cancel}).
    """

    _posts: PostLog
    _cancel: Callable[[list[int], str, Iterable[int]], None]
    _unhurried: Unhurried

    async def mark(self, rules: RuleBook, before: RuleBook) -> list[int]:
        """
        Cancel in the log what is by authors and hosts, or with tags, that are blocked now and were not before.

        @return: the positions.
        """
        new = rules.blocked - before.blocked
        authors = {subject for subject in new if "@" in subject}
        tags = rules.blocked_tags - before.blocked_tags
        if not new and not tags:
            return []
        return await self._posts.cancel(authors=authors, hosts=new - authors, tags=tags)

    async def cancel(self, rules: RuleBook, before: RuleBook, destinations: Iterable[int]) -> None:
        """The same, and what of it is queued for these."""
        positions = await self.mark(rules, before)
        if not positions:
            return
        async for numbers in self._unhurried.over(_portions(list(destinations))):
            self._cancel(positions, REASON, numbers)


def _portions(numbers: list[int]) -> Iterator[list[int]]:
    return (numbers[start : start + AT_ONCE] for start in range(0, max(len(numbers), 1), AT_ONCE))
