"""Tests for L{socialrelay.bus.unread}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from socialrelay.bus.unread import UnreadPages


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
