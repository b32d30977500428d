"""Tests for L{socialrelay.words}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from socialrelay.words import counted, sentence


class CountedTests(SynchronousTestCase):
    def test_counted(self) -> None:
        """
        One is counted in the singular, none and more in the plural.
        """
        self.assertEqual([counted(count, "post") for count in (0, 1, 2)], ["0 posts", "1 post", "2 posts"])
        self.assertEqual([counted(count, "body", "bodies") for count in (1, 2)], ["1 body", "2 bodies"])
        self.assertEqual([counted(count, "day") for count in (0.5, 1.0, 7.0)], ["0.5 days", "1 day", "7 days"])


class SentenceTests(SynchronousTestCase):
    def test_sentence(self) -> None:
        """
        The first letter becomes a capital one and an end is put there; paths and names keep their letters.
        """
        self.assertEqual(sentence(ValueError("no relay answers at ipc:///Run/Bus")), "No relay answers at ipc:///Run/Bus.")
