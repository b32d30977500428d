"""Tests for L{socialrelay.routing.index}: many destinations."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.routing.index import SubscriptionIndex
from socialrelay.routing.subscription import Scope


class ManyTests(SynchronousTestCase):
    """Who wants a post, of many."""

    def test_popular_tag(self) -> None:
        """However many want a tag, and come and go, those who want it get what bears it."""
        index = SubscriptionIndex()
        for number in range(100):
            index.put(number, Scope.TAGS, frozenset({"cats", "dogs"} if number % 2 else {"cats"}))
            self.assertEqual(index.recipients({"cats"}), set(range(number + 1)))
        for number in range(90):
            index.remove(number)
            self.assertEqual(index.recipients({"cats"}), set(range(number + 1, 100)))
        self.assertEqual(index.recipients({"dogs", "birds"}), {91, 93, 95, 97, 99})
        self.assertEqual((index.entries, index.tags), (15, 2))
        for number in range(90, 100):
            index.remove(number)
        self.assertEqual((index.recipients({"cats", "dogs"}), index.entries, index.tags), (frozenset(), 0, 0))

    def test_counted(self) -> None:
        """How many want a tag is known, and how many want all posts, or tags; whoever wants all is not counted for each tag."""
        index = SubscriptionIndex()
        for number in range(70):
            index.put(number, Scope.TAGS, frozenset({"cats", "dogs"} if number < 5 else {"cats"}))
        index.put(70, Scope.ALL)
        self.assertEqual(([index.wanting(tag) for tag in ("cats", "dogs", "birds")], sorted(index.names())), ([70, 5, 0], ["cats", "dogs"]))
        self.assertEqual((index.everything, index.tagged), (1, 70))

    @given(st.frozensets(st.integers(0, 5)), st.integers(0, 5))
    def test_without_the_author(self, numbers: frozenset[int], author: int) -> None:
        """The one that is left out is left out, whatever it wants."""
        index = SubscriptionIndex()
        for number in numbers:
            index.put(number, *((Scope.ALL,) if number % 2 else (Scope.TAGS, frozenset({"cats"}))))
        self.assertEqual(index.recipients({"cats"}, but=author), numbers - {author})
