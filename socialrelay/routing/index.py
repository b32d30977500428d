"""Who wants a post: a look-up without a query."""

from __future__ import annotations

from collections.abc import Iterable

from socialrelay.routing.subscription import Scope


class SubscriptionIndex:
    """Destination numbers by what they asked for."""

    def __init__(self) -> None:
        self._all: set[int] = set()
        self._by_tag: dict[str, set[int]] = {}
        self._tags_of: dict[int, frozenset[str]] = {}
        self._entries = 0

    def put(self, number: int, scope: Scope, tags: frozenset[str] = frozenset()) -> None:
        """Subscribe a destination, in place of what it was subscribed to."""
        self.remove(number)
        if scope is Scope.ALL:
            self._all.add(number)
        elif scope is Scope.TAGS:
            self._tags_of[number] = tags
            self._entries += len(tags)
            for tag in tags:
                self._by_tag.setdefault(tag, set()).add(number)

    def remove(self, number: int) -> None:
        """It is subscribed to nothing any more."""
        self._all.discard(number)
        tags = self._tags_of.pop(number, frozenset())
        self._entries -= len(tags)
        for tag in tags:
            numbers = self._by_tag[tag]
            numbers.discard(number)
            if not numbers:
                del self._by_tag[tag]

    def recipients(self, tags: Iterable[str]) -> set[int]:
        """Who wants a post with these match keys."""
        return self._all.union(*(self._by_tag.get(tag, ()) for tag in tags))

    @property
    def entries(self) -> int:
        """How many pairs of tag and destination it holds."""
        return self._entries

    def entries_of(self, number: int) -> int:
        """How many of them are this destination's."""
        return len(self._tags_of.get(number, ()))

    @property
    def tags(self) -> int:
        """How many distinct tags somebody wants."""
        return len(self._by_tag)
