"""
How much a host is trusted with: how many deliveries at a time, and for how long one of them may take.

The window grows by one for each round of answers that came while it was full, and shrinks by one for each failure of the host
(postfix:/postfix/README_FILES/SCHEDULER_README, positive feedback 1/concurrency).  What is learned in steps is forgotten in steps: a host
that fails once among many successes loses little, one that keeps failing ends at one delivery at a time.
"""

from __future__ import annotations

START = 2
"""Deliveries at a time to a host of which nothing is known."""
FADE = 0.99
"""The slowest answer counts less with each one after it: after a hundred quicker ones it is at a third."""
KNOWN = 20
"""Answers after which a host is no stranger."""
QUICK = 0.1
"""Seconds; about what a new connection takes."""
QUICKLY_KNOWN = 8
"""Answers after which it is known whether a host is quick."""
GAIN = 1 / 8
"""How much the last answer counts for what is usual, as in RFC 6298 for round trips: one that was held up is soon forgotten."""
SLOWNESS = 4.0
SHORTEST = 3.0
"""Seconds that every host is given."""


class Feedback:
    """
    @ivar width: deliveries that may be under way, from 1 to the most.
    @ivar usual: seconds; how long an answer takes.
    @ivar slow: seconds; 99 of 100 answers come sooner, or nearly: the slowest of late, fading.
    """

    __slots__ = ("answers", "credit", "slow", "usual", "width")

    def __init__(self, most: int) -> None:
        """@param most: the greatest width."""
        self.width = min(START, most)
        self.credit = 0.0
        self.slow = 0.0
        self.usual = 0.0
        self.answers = 0

    def succeeded(self, seconds: float, most: int, full: bool) -> None:
        """
        An answer came.

        @param seconds: after how long.
        @param full: so many deliveries were under way that the window held others back: only then is there anything to learn about it.
        """
        self.slow = max(seconds, self.slow * FADE)
        self.usual += (seconds - self.usual) * (GAIN if self.answers else 1.0)
        self.answers += 1
        if full and self.width < most:
            self.credit += 1 / self.width
            if self.credit > 0.999:
                self.width += 1
                self.credit = 0.0

    def failed(self, seconds: float) -> None:
        """
        The host failed.

        @param seconds: after how long: a host that ran out of time is given more the next time.
        """
        self.slow = max(self.slow, seconds)
        self.width = max(self.width - 1, 1)
        self.credit = 0.0

    @property
    def quick(self) -> bool:
        """It is known to answer within a moment, as a rule."""
        return self.answers >= QUICKLY_KNOWN and self.usual < QUICK

    def patience(self, most: float) -> float:
        """
        Seconds that a delivery may take: a stranger has all there are.

        @param most: what no delivery may exceed.
        """
        if self.answers < KNOWN:
            return most
        return min(max(SLOWNESS * self.slow, SHORTEST), most)
