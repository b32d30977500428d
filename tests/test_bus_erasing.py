"""Tests for L{socialrelay.bus.erasing}."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from socialrelay.boundaries.bus import ERASED
from socialrelay.bus.erasing import blanked, names


def said(**msg: object) -> bytes:
    return json.dumps({"i": 7, "msg": msg, "msg_id": "2026-1", "topic": "a.b"}).encode()


class ErasingTests(SynchronousTestCase):
    """Messages that name somebody who is to be erased."""

    def test_names(self) -> None:
        """
        A message names whom its members say; all that are given must be in it.
        """
        body = said(actor="ada@pod.example", activity_id="f00d", node="a.pod.example", target="https://eve.example/")
        for wanted, found in (
            ({"author": "ada@pod.example"}, True),
            ({"author": "da@pod.example"}, False),
            ({"guid": "f00d"}, True),
            ({"guid": "f00"}, False),
            ({"author": "ada@pod.example", "guid": "f00d", "host": "pod.example"}, True),
            ({"author": "ada@pod.example", "guid": "f00e"}, False),
            ({"host": "a.pod.example"}, True),
            ({"host": "od.example"}, False),
            ({"host": "eve.example"}, False),
            ({}, False),
        ):
            self.assertIs(names(body, **wanted), found, wanted)

    def test_names_nobody(self) -> None:
        """
        A message without these members names nobody.
        """
        for body in (said(), said(actor=None, node=None), b'{"topic":"a.b"}'):
            for wanted in ({"author": "ada@pod.example"}, {"guid": "f00d"}, {"host": "pod.example"}):
                self.assertFalse(names(body, **wanted))

    def test_blanked(self) -> None:
        """
        A message that was blanked has its envelope and its number, and names nobody.
        """
        blank = blanked(said(seq=4711, actor="ada@pod.example"), 4711)
        self.assertEqual(json.loads(blank), {"i": 7, "msg": {ERASED: True, "seq": 4711}, "msg_id": "2026-1", "topic": "a.b"})
        self.assertEqual(blanked(blank, 4711), blank)
        self.assertFalse(names(blank, author="ada@pod.example"))
