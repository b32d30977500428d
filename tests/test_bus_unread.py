"""Tests for L{socialrelay.bus.unread}."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.bus.unread import Unread, UnreadPages


class UnreadPagesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.pages = UnreadPages()
        for end, size in ((10, 1), (20, 2), (30, 4)):
            self.pages.sent(end, size)

    def test_goes_on(self) -> None:
        """
        Who goes on from a page has read it, and what was sent before it; later pages are unread.
        """
        self.assertEqual(self.pages.unread, 7)
        self.pages.goes_on(20)
        self.assertEqual(self.pages.unread, 4)
        self.pages.goes_on(30)
        self.assertEqual(self.pages.unread, 0)

    def test_elsewhere(self) -> None:
        """
        Who asks for something else has read nothing, as far as is known.
        """
        for since in (None, 0, 11, 1000):
            self.pages.goes_on(since)
        self.assertEqual(self.pages.unread, 7)

    def test_again(self) -> None:
        """
        The same page once more is unread once more, and read when somebody goes on from it.
        """
        self.pages.sent(10, 1)
        self.assertEqual(self.pages.unread, 8)
        self.pages.goes_on(30)
        self.assertEqual(self.pages.unread, 2)
        self.pages.goes_on(10)
        self.assertEqual(self.pages.unread, 0)


class UnreadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.unread = Unread(self.clock.seconds, 100, 150, 30.0)

    def full(self) -> list[bool]:
        return [*(self.unread.full(peer) for peer in (b"a", b"b")), self.unread.crowded()]

    def test_each(self) -> None:
        """
        Who has left as much unread as one may is full, and others are not, until it goes on.
        """
        self.unread.sent(b"a", 10, 100)
        self.assertEqual(self.full(), [True, False, False])
        self.unread.goes_on(b"a", 10)
        self.unread.goes_on(b"b", 10)
        self.assertEqual((self.full(), self.unread.total), ([False] * 3, 0))

    def test_all(self) -> None:
        """
        When all together have left unread as much as may be, that is known, until one goes on.
        """
        self.unread.sent(b"a", 10, 80)
        self.unread.sent(b"b", 10, 30)
        self.unread.sent(b"b", 20, 40)
        self.assertEqual((self.full(), self.unread.total), ([False, False, True], 150))
        self.unread.goes_on(b"b", 10)
        self.assertEqual((self.full(), self.unread.total), ([False] * 3, 120))

    def test_gone(self) -> None:
        """
        What was sent so long ago that its connection is gone, or was read, counts no longer.
        """
        self.unread.sent(b"a", 10, 90)
        self.clock.advance(20)
        self.unread.sent(b"b", 10, 60)
        self.assertEqual(self.full(), [False, False, True])
        self.clock.advance(10)
        self.assertEqual((self.full(), self.unread.total), ([False] * 3, 60))
        self.unread.sent(b"a", 20, 90)
        self.unread.goes_on(b"a", 20)
        self.clock.advance(20)
        self.assertEqual((self.full(), self.unread.total), ([False] * 3, 0))
