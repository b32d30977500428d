"""Who wants a post: a look-up without a query."""

from __future__ import annotations

from collections.abc import Iterable

from socialrelay.routing.recipients import Recipients, bits_of
from socialrelay.routing.subscription import Scope

_FEW = 32
"""So many that want one tag are held as their numbers, more as a bit for each destination: so a tag of a single node costs little."""


class SubscriptionIndex:
    """
    Destination numbers by what they asked for.

    @ivar _all: whoever wants everything; bit C{n} is destination C{n}.
    @ivar _few: tag -> at most L{_FEW} numbers, ascending.
    @ivar _many: tag -> more of them, as bits. A tag is in one of the two.
    """

    def __init__(self) -> None:
        self._all = 0
        self._few: dict[str, tuple[int, ...]] = {}
        self._many: dict[str, int] = {}
        self._tags_of: dict[int, frozenset[str]] = {}
        self._entries = 0

    def put(self, number: int, scope: Scope, tags: frozenset[str] = frozenset()) -> None:
        """Subscribe a destination, in place of what it was subscribed to."""
        self.remove(number)
        if scope is Scope.ALL:
            self._all |= 1 << number
        elif scope is Scope.TAGS:
            self._tags_of[number] = tags
            self._entries += len(tags)
            for tag in tags:
                self._add(tag, number)

    def remove(self, number: int) -> None:
        """It is subscribed to nothing any more."""
        self._all &= ~(1 << number)
        tags = self._tags_of.pop(number, frozenset())
        self._entries -= len(tags)
        for tag in tags:
            self._discard(tag, number)

    def _add(self, tag: str, number: int) -> None:
        if tag in self._many:
            self._many[tag] |= 1 << number
            return
        few = tuple(sorted((*self._few.get(tag, ()), number)))
        if len(few) <= _FEW:
            self._few[tag] = few
        else:
            self._few.pop(tag, None)
            self._many[tag] = bits_of(few)

    def _discard(self, tag: str, number: int) -> None:
        if tag in self._many:
            left = Recipients(self._many[tag] & ~(1 << number))
            if len(left) > _FEW // 2:  # not at once below the limit: who comes and goes there would be converted each time
                self._many[tag] = left.bits
                return
            del self._many[tag]
            few = tuple(left)
        else:
            few = tuple(each for each in self._few[tag] if each != number)
        if few:
            self._few[tag] = few
        else:
            self._few.pop(tag, None)

    def recipients(self, tags: Iterable[str], but: int | None = None) -> Recipients:
        """
        Who wants a post with these match keys.

        @param but: a destination that does not get it.
        """
        bits = self._all
        few: set[int] = set()
        for tag in tags:
            if found := self._few.get(tag):
                few.update(found)
            else:
                bits |= self._many.get(tag, 0)
        if few:
            bits |= bits_of(few)
        if but is not None:
            bits &= ~(1 << but)
        return Recipients(bits)

    @property
    def entries(self) -> int:
        """How many pairs of tag and destination it holds."""
        return self._entries

    def entries_of(self, number: int) -> int:
        """How many of them are this destination's."""
        return len(self._tags_of.get(number, ()))

    @property
    def everything(self) -> int:
        """How many want all posts."""
        return self._all.bit_count()

    @property
    def tagged(self) -> int:
        """How many want tags."""
        return len(self._tags_of)

    def names(self) -> list[str]:
        """The distinct tags, as they are now, in no order."""
        return [*self._few, *self._many]

    def wanting(self, tag: str) -> int:
        """How many want a tag."""
        few = self._few.get(tag)
        return len(few) if few is not None else self._many.get(tag, 0).bit_count()

    @property
    def tags(self) -> int:
        """How many distinct tags somebody wants."""
        return len(self._few) + len(self._many)
