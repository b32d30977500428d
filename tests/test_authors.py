"""Whose posts are relayed."""

from __future__ import annotations

from datetime import UTC, datetime

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from socialrelay import authors
from socialrelay.authors import Authors
from socialrelay.config import Policy
from socialrelay.routing.rules import RuleBook
from socialrelay.storage.memory import MemoryTables, memory_storage


class BoundTests(SynchronousTestCase):
    """However many say what they wish."""

    def setUp(self) -> None:
        self.tables = MemoryTables()
        self.authors = self.restart()

    def restart(self, **options: int) -> Authors:
        storage = memory_storage(self.tables)
        made = Authors(storage.contacts, Policy(), RuleBook, lambda: datetime(2026, 3, 1, tzinfo=UTC), **options)
        self.successResultOf(Deferred.fromCoroutine(made.load()))
        return made

    def wish(self, author: str, wishes: bool) -> bool:
        """Whether it was kept."""
        self.assertTrue(self.successResultOf(Deferred.fromCoroutine(self.authors.wish(author, wishes))))
        return self.tables.contacts.get(author) is wishes

    def test_one_host(self) -> None:
        """A host's authors who wish to be relayed keep out none who does not, and none of another host."""
        self.patch(authors, "WISHES_OF_HOST", {True: 2, False: 4})
        kept = [self.wish(f"yes{number}@pod.example", True) for number in range(3)]
        self.authors = self.restart()
        kept += [self.wish(f"no{number}@pod.example", False) for number in range(3)]
        self.assertEqual(kept, [True, True, False, True, True, False])
        self.assertTrue(self.wish("yes0@pod.example", False))
        self.assertTrue(self.wish("yes@other.example", True))
        self.assertEqual([self.authors.refuses(f"{who}@pod.example") for who in ("yes0", "yes1", "no0")], ["unwished", "", "unwished"])

    def test_erased(self) -> None:
        """That somebody wished to be relayed can be forgotten, of one author or of a host; that somebody does not is never."""
        names = ("ada@pod.example", "bob@a.pod.example", "eve@notpod.example", "kim@pod.example")
        for author, wishes in zip(names, (True, True, True, False), strict=True):
            self.wish(author, wishes)

        def erase(**name: str) -> int:
            return self.successResultOf(Deferred.fromCoroutine(self.authors.erase(**name)))

        self.assertEqual([erase(author=name) for name in (names[0], names[0], names[3], "nobody@pod.example")], [1, 0, 0, 0])
        self.assertEqual([erase(host="pod.example") for _ in range(2)], [1, 0])
        self.assertEqual(self.authors.wishes, {names[2]: True, names[3]: False})
        self.assertEqual(self.restart().wishes, self.authors.wishes)

    def test_in_all(self) -> None:
        """However many wish to be relayed, whoever does not is heard; both are bounded."""
        self.authors = self.restart(limit=10)
        kept = [self.wish(f"ada@host{number}.example", wishes) for number, wishes in enumerate([True] * 3 + [False] * 9)]
        self.assertEqual(kept, [True, True, False] + [True] * 8 + [False])
        self.assertEqual(self.authors.turned_away, 2)
