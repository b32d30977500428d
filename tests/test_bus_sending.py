"""Messages that are sent until it is known what became of them, over a connection that does whatever a connection can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.bus.link import Link
from socialrelay.bus.sending import NoAnswer, Outcome, Outgoing, Sender

FATES = ("answer", "late", "lose", "drop", "busy", "break", "twice")
"""What may become of a message that is sent: C{late}: answered when something else is read; the others as a scripted relay has them."""


class FakeLink:
    """
    A link and the relay behind it, without time passing but in L{wait}.

    @ivar kept: C{msg_id}s, in order.
    """

    address = "tcp://127.0.0.1:1"
    answered = False

    def __init__(self, fates: Sequence[str] = ()) -> None:
        self.fates = list(fates)
        self.kept: list[str] = []
        self.sent = 0
        self.now = 0.0
        self.is_open = False
        self._broke = False
        self._answers: list[list[bytes]] = []
        self._late: list[list[bytes]] = []

    def seconds(self) -> float:
        return self.now

    def open(self) -> None:
        self.is_open, self._broke, self._answers, self._late = True, False, [], []

    def close(self) -> None:
        self.is_open = False

    def send(self, frames: Sequence[bytes]) -> None:
        self.sent += 1
        fate = self.fates.pop(0) if self.fates else "answer"
        name = frames[0].decode()
        if fate == "drop" or self._broke:
            return
        if fate == "busy":
            self._answers.append([frames[0], b"busy", b"too much"])
            return
        known = name in self.kept
        if not known:
            self.kept.append(name)
        answer = [frames[0], b"dup" if known else b"ok", str(self.kept.index(name) + 1).encode()]
        if fate == "break":
            self._broke = True
        elif fate == "late":
            self._late.append(answer)
        elif fate != "lose":
            self._answers += [answer] * (2 if fate == "twice" else 1)

    def read(self) -> list[list[bytes]]:
        found, self._answers = self._answers, []
        if found:
            self._answers, self._late = self._late, []
            self.answered = True
        return found

    def broke(self) -> bool:
        return self.is_open and self._broke

    def wait(self, seconds: float, descriptor: int | None = None) -> bool:
        if not self._answers and not self.broke():
            self.now += max(seconds, 0.001)
            self._answers, self._late = self._late, []
        return False


def sender(link: FakeLink, timeout: float = 1e6, window: int = 10) -> Sender:
    return Sender(cast(Link, link), timeout, window, link.seconds, lambda: 0.5)


def run(link: FakeLink, many: int, **given: Any) -> list[Outcome]:
    """Give so many messages, as soon as they are taken."""
    sends, told = sender(link, **given), []
    for number in range(many):
        while not sends.takes(f"m{number}"):
            told += sends.turn(1e9)
        sends.give(Outgoing(f"m{number}", "t", b"{}"))
        told += sends.turn(0)
    while sends.waiting:
        told += sends.turn(1e9)
    return told


class SenderTests(SynchronousTestCase):
    @given(st.lists(st.sampled_from(FATES), max_size=60), st.integers(1, 12), st.integers(1, 8))
    def test_whatever_happens(self, fates: list[str], many: int, window: int) -> None:
        """
        Whatever the connection does, each message is kept once, and it is told once, in order, what became of it.
        """
        link = FakeLink(fates)
        told = run(link, many, window=window)
        self.assertEqual([each.msg_id for each in told], [f"m{number}" for number in range(many)])
        self.assertEqual(sorted(link.kept), sorted(each.msg_id for each in told))
        self.assertEqual([link.kept[each.seq - 1] for each in told], [each.msg_id for each in told])

    def test_waits_grow(self) -> None:
        """
        A relay that stays busy is asked less and less often, but every two seconds at least.
        """
        link = FakeLink(["busy"] * 100)
        run(link, 1)
        self.assertEqual(link.sent, 101)
        self.assertTrue(100 < link.now < 200, link.now)

    def test_nothing_more_while_busy(self) -> None:
        """
        A relay that is busy gets no further messages until it takes those that it has refused.
        """
        link = FakeLink(["busy"])
        sends = sender(link)
        sends.turn(0)
        sends.give(Outgoing("m0", "t", b""))
        sends.turn(0)
        self.assertFalse(sends.takes("m1"))
        while sends.waiting:
            sends.turn(10)
        self.assertTrue(sends.takes("m1"))

    def test_breaks_seldom(self) -> None:
        """
        A connection that breaks again and again is opened again less and less often.
        """
        link = FakeLink(["break"] * 20)
        run(link, 1)
        self.assertEqual(link.sent, 21)
        self.assertGreater(link.now, 15)

    def test_deadline(self) -> None:
        """
        A message that is not answered in time ends everything, with what is known of those after it.
        """
        link = FakeLink(["answer", "drop", "answer", *["drop"] * 1000])
        sends, told = sender(link, timeout=30.0), []
        sends.turn(0)
        for number in range(3):
            sends.give(Outgoing(f"m{number}", "t", b""))
        with self.assertRaises(NoAnswer) as raised:
            while True:
                told += sends.turn(100)
        self.assertEqual([each.msg_id for each in told], ["m0"])
        self.assertEqual((raised.exception.msg_ids, raised.exception.answered), (("m1",), True))
        self.assertEqual([(each.msg_id, each.seq) for each in sends.rest()], [("m2", 2)])
        self.assertTrue(30 <= link.now < 31, link.now)
