"""The window and the patience of a host."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.scheduler.feedback import KNOWN, SHORTEST, START, Feedback

MOST = 5
PATIENCE = 15.0


def answers(feedback: Feedback, count: int, seconds: float = 0.1, full: bool = True) -> None:
    for _ in range(count):
        feedback.succeeded(seconds, MOST, full)


class WindowTests(SynchronousTestCase):
    """Deliveries at a time."""

    def test_start(self) -> None:
        """A stranger gets two at a time, unless fewer are allowed."""
        self.assertEqual(Feedback(MOST).width, START)
        self.assertEqual(Feedback(1).width, 1)

    def test_grows_by_rounds(self) -> None:
        """It takes as many successes as the window is wide to widen it by one."""
        feedback = Feedback(MOST)
        widths = []
        for _ in range(16):
            answers(feedback, 1)
            widths.append(feedback.width)
        self.assertEqual(widths, [2, 3, 3, 3, 4, 4, 4, 4, *[5] * 8])

    def test_not_full(self) -> None:
        """Successes while the window held nothing back say nothing about it."""
        feedback = Feedback(MOST)
        answers(feedback, 100, full=False)
        self.assertEqual(feedback.width, START)

    def test_shrinks_by_one(self) -> None:
        """One failure takes one from the window, and what was gathered towards the next one."""
        feedback = Feedback(MOST)
        answers(feedback, 100)
        feedback.failed(0.1)
        self.assertEqual(feedback.width, 4)
        answers(feedback, 3)
        feedback.failed(0.1)
        answers(feedback, 2)
        self.assertEqual(feedback.width, 3)

    @given(st.lists(st.one_of(st.none(), st.tuples(st.floats(0, 60), st.booleans())), max_size=300), st.integers(1, 5))
    def test_bounds(self, steps: list[tuple[float, bool] | None], most: int) -> None:
        """Whatever happens, the window stays between one and the most, and the time given between three seconds and the most."""
        feedback = Feedback(most)
        for step in steps:
            if step is None:
                feedback.failed(1.0)
            else:
                feedback.succeeded(step[0], most, step[1])
            self.assertTrue(1 <= feedback.width <= most)
            self.assertTrue(SHORTEST <= feedback.patience(PATIENCE) <= PATIENCE)


class PatienceTests(SynchronousTestCase):
    """Seconds that a delivery may take."""

    def test_stranger(self) -> None:
        """A host of which little is known is given all the time there is."""
        feedback = Feedback(MOST)
        answers(feedback, KNOWN - 1)
        self.assertEqual(feedback.patience(PATIENCE), PATIENCE)

    def test_quick(self) -> None:
        """A host that always answers at once is given three seconds."""
        feedback = Feedback(MOST)
        answers(feedback, KNOWN)
        self.assertEqual(feedback.patience(PATIENCE), SHORTEST)

    def test_slow(self) -> None:
        """A host is given four times what it took in the worst of its last answers."""
        feedback = Feedback(MOST)
        answers(feedback, 50)
        answers(feedback, 1, seconds=2.0)
        self.assertEqual(feedback.patience(PATIENCE), 8.0)

    def test_forgotten(self) -> None:
        """A slow answer is forgotten after some hundred quick ones."""
        feedback = Feedback(MOST)
        answers(feedback, 1, seconds=10.0)
        answers(feedback, 300)
        self.assertEqual(feedback.patience(PATIENCE), SHORTEST)

    def test_out_of_time(self) -> None:
        """A host that ran out of its three seconds is given all the time there is in the end."""
        feedback = Feedback(MOST)
        answers(feedback, KNOWN)
        given = []
        for _ in range(3):
            feedback.failed(feedback.patience(PATIENCE))
            given.append(feedback.patience(PATIENCE))
        self.assertEqual(given, [12.0, PATIENCE, PATIENCE])
