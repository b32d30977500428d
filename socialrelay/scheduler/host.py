"""A host's breaker: whether deliveries may be under way to it, and how many."""

from __future__ import annotations

from datetime import datetime

from socialrelay.scheduler.feedback import Feedback
from socialrelay.scheduler.moment import Moment
from socialrelay.scheduler.record import DestinationRecord, State

_NEVER = float("-inf")

SOME = 4
"""Posts that may wait for an answer of a quick host before there is a second delivery at the same time."""


class Host:
    """
    What all destinations at one host share.

    @ivar next_attempt: monotonic seconds; while the host is deferred or dead nothing is sent before.
    @ivar cohort: grows with each counted failure: what was begun in an earlier one, and fails too, tells nothing new.
    @ivar refused: different posts refused in a row.
    @ivar failing_from: monotonic seconds; C{None} while it does not fail. It is stored as a time of the day; so is C{gone_from}.
    """

    __slots__ = (
        "cohort", "failing_from", "failures", "feedback", "gone_answers", "gone_from", "in_flight", "last_reason", "last_success", "name",
        "next_attempt", "refused", "state", "woken_at",
    )  # fmt: skip

    def __init__(self, name: str, window: int) -> None:
        """@param window: deliveries at a time, at most."""
        self.name = name
        self.feedback = Feedback(window)
        self.state = State.ACTIVE
        self.in_flight = 0
        self.failures = 0
        self.failing_from: float | None = None
        self.cohort = 0
        self.next_attempt = 0.0
        self.refused = 0
        self.gone_answers = 0
        self.gone_from: float | None = None
        self.last_success: datetime | None = None
        self.last_reason = ""
        self.woken_at = _NEVER

    def restore(self, record: DestinationRecord, now: Moment, longest_wait: float) -> None:
        """Take up what was stored."""
        self.state = record.state
        self.failures = record.failures
        self.last_success = record.last_success
        self.last_reason = record.last_reason
        self.gone_answers = record.gone_answers
        self.failing_from = _lasting(record.failing_since, record.next_attempt, now)
        self.gone_from = _lasting(record.gone_since, record.next_attempt, now)
        if record.next_attempt is not None:
            self.next_attempt = now.seconds_at(record.next_attempt, longest_wait)

    def fails(self, now: Moment) -> float:
        """The host failed: for how many seconds it has done so without a success."""
        if self.failing_from is None:
            self.failing_from = now.seconds
        return now.seconds - self.failing_from

    def says_gone(self, now: Moment) -> float:
        """The host says that it is gone: for how many seconds it has said so."""
        self.gone_answers += 1
        if self.gone_from is None:
            self.gone_from = now.seconds
        return now.seconds - self.gone_from

    @property
    def probing(self) -> bool:
        """Whatever is sent to it now is a probe."""
        return self.state in (State.DEFERRED, State.DEAD)

    def waits(self, now: Moment) -> bool:
        """Nothing may be sent to it now, whatever there is."""
        if self.state is State.ACTIVE:
            return False
        return not self.probing or now.seconds < self.next_attempt

    def has_room(self, waiting: int) -> bool:
        """
        One more delivery may be under way.

        While a host answers quickly the next post waits for that, and for the connection that is then free: to open another one takes
        longer, and costs both sides ten times as much.

        @param waiting: posts that wait for it: when they are some, they are not kept waiting.
        """
        if self.probing:
            return not self.in_flight
        if self.in_flight and waiting < SOME and self.feedback.quick:
            return False
        return self.in_flight < self.feedback.width

    def recovered(self) -> None:
        """It answers like a node that is well."""
        self.state = State.ACTIVE
        self.failures = 0
        self.failing_from = None
        self.gone_answers = 0
        self.gone_from = None
        self.next_attempt = 0.0


def _lasting(stored: datetime | None, next_attempt: datetime | None, now: Moment) -> float | None:
    """
    Since when something lasts that began before the relay was started, in monotonic seconds.

    It is nobody's fault that a host was not tried when its next attempt was due: then the relay did not run, or the clock was put forward.
    That time does not count.
    """
    if stored is None:
        return None
    until = now.wall if next_attempt is None else min(now.wall, next_attempt)
    return now.seconds - max((until - stored).total_seconds(), 0.0)
