"""
What a poll of a node's preferences means, and when the next one is due.

Consent is read strictly and failure leniently: a published no, or 410, ends a subscription at once, and stays until the node publishes
something else; a node that merely fails keeps its last good answer for a grace period.  404 lies between: a removed file is a documented
way to unsubscribe, and also what a broken proxy says, so it must be seen twice, an hour apart.

========================  =====================================================  ==========================================
answer                    what is kept                                           next poll
========================  =====================================================  ==========================================
preferences               as published                                           the regular interval, or max-age
410                       C{none}                                                the candidates' interval
404                       as before; the second, an hour later: no preferences   after an hour, or the back-off
unreadable, failed        as before until the grace period is over               the back-off, or Retry-After
========================  =====================================================  ==========================================

Figures: C{docs/protocol.md}, "Polling".
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum

from attrs import evolve, frozen

from socialrelay.boundaries import NodeRecord
from socialrelay.config import Polling
from socialrelay.routing.subscription import Preferences, Scope

BACKOFF_FIRST = 300.0
BACKOFF_MAX = 86400.0
WAIT_MAX = 86400.0
"""Neither Cache-Control nor Retry-After puts a poll off for longer (seconds)."""
JITTER = 0.2
MISSING_APART = timedelta(hours=1)
FAILURES_AT_LEAST = 8
"""Failed polls in a row, without which the grace period does not end: else a relay that was switched off for a week would drop nodes."""

NOTHING = Preferences(Scope.NONE)


@frozen
class Published:
    """
    The node's preferences were read.

    @ivar max_age: seconds for which the answer holds, if it says so.
    """

    preferences: Preferences
    max_age: float | None = None


@frozen
class Gone:
    """410."""


@frozen
class Missing:
    """404."""

    reason: str


@frozen
class Unreadable:
    """The node answered, and not with a document that can be understood."""

    reason: str


@frozen
class Failed:
    """
    There was no answer, or one that says nothing of the document.

    @ivar retry_after: seconds that the node asks us to wait, if it does.
    """

    reason: str
    retry_after: float | None = None


Answer = Published | Gone | Missing | Unreadable | Failed


class Turn(Enum):
    """What an operator wants to hear of a poll."""

    FAILING = "failing"
    """The first failure of a node that has a subscription."""
    GRACE_OVER = "grace over"
    WITHDRAWN = "withdrawn"
    """The file was missing twice."""


@frozen
class Conclusion:
    """The node after the poll."""

    node: NodeRecord
    turn: Turn | None = None


def wants_posts(preferences: Preferences | None) -> bool:
    """Whether these are preferences that ask for posts."""
    return preferences is not None and preferences.scope is not Scope.NONE


def conclude(node: NodeRecord, answer: Answer, now: datetime, polling: Polling, chance: float, *, asked: bool = False) -> Conclusion:
    """
    What follows from a poll.

    @param chance: between 0 and 1; spreads the next poll by ±20 %.
    @param asked: somebody asked for this poll: if it fails it is not counted, and puts no later poll off.
    """
    factor = 1.0 - JITTER + 2 * JITTER * chance
    if isinstance(answer, Published):
        delay = max(_regular(answer.preferences, polling) * factor, min(answer.max_age or 0.0, WAIT_MAX))
        return Conclusion(_read(node, answer.preferences, now, delay, answered=now))
    if isinstance(answer, Gone):
        after = _read(node, NOTHING, now, polling.candidate_interval * factor, answered=node.last_answer)
        return Conclusion(evolve(after, poll_error="HTTP 410: the file is gone for good"))
    return _failed(node, answer, now, polling, factor, asked)


def _read(node: NodeRecord, preferences: Preferences, now: datetime, delay: float, answered: datetime | None) -> NodeRecord:
    return evolve(
        node,
        preferences=preferences,
        last_poll=now,
        last_answer=answered,
        next_poll=now + timedelta(seconds=delay),
        poll_failures=0,
        poll_error="",
        missing_since=None,
    )


def _failed(
    node: NodeRecord, answer: Missing | Unreadable | Failed, now: datetime, polling: Polling, factor: float, asked: bool
) -> Conclusion:
    failures = node.poll_failures + (0 if asked else 1)
    missing_since = _missing_since(node, answer, now)
    turn = None
    preferences = node.preferences
    if wants_posts(preferences):
        if missing_since is not None and isinstance(answer, Missing) and now - missing_since >= MISSING_APART:
            turn = Turn.WITHDRAWN
        elif failures >= FAILURES_AT_LEAST and now - (node.last_answer or node.first_seen) >= timedelta(seconds=polling.grace):
            turn = Turn.GRACE_OVER
        elif failures == 1 and not asked:
            turn = Turn.FAILING
    if turn in (Turn.WITHDRAWN, Turn.GRACE_OVER):
        preferences = None
    after = evolve(
        node,
        preferences=preferences,
        last_poll=now,
        next_poll=_next_after_failure(node, answer, now, _delay(preferences, failures, answer, polling) * factor, asked),
        poll_failures=failures,
        poll_error=answer.reason,
        missing_since=missing_since,
    )
    return Conclusion(after, turn)


def _missing_since(node: NodeRecord, answer: Missing | Unreadable | Failed, now: datetime) -> datetime | None:
    """A failure says nothing of the file; something unreadable proves that there is one."""
    if isinstance(answer, Missing):
        return node.missing_since or now
    return None if isinstance(answer, Unreadable) else node.missing_since


def _next_after_failure(node: NodeRecord, answer: Missing | Unreadable | Failed, now: datetime, delay: float, asked: bool) -> datetime:
    wait = answer.retry_after if isinstance(answer, Failed) else None
    earliest = now + timedelta(seconds=min(max(wait or 0.0, 0.0), WAIT_MAX))
    due = now + timedelta(seconds=delay)
    return max(earliest, min(node.next_poll, due) if asked else due)


def _delay(preferences: Preferences | None, failures: int, answer: Answer, polling: Polling) -> float:
    if not wants_posts(preferences):
        return polling.candidate_interval
    backoff = min(BACKOFF_FIRST * 2.0 ** min(max(failures, 1) - 1, 30), BACKOFF_MAX)
    if isinstance(answer, Missing):
        backoff = max(backoff, MISSING_APART.total_seconds() / (1.0 - JITTER))
    return backoff


def _regular(preferences: Preferences, polling: Polling) -> float:
    """Nodes that want nothing are asked as rarely as candidates: who changes their mind has C{/check}."""
    return polling.interval if wants_posts(preferences) else polling.candidate_interval


def recalled(node: NodeRecord, now: datetime, polling: Polling, chance: float) -> NodeRecord | None:
    """
    Correct what a clock that was ahead has left behind.

    @return: the node with times that can be; C{None} if they are so already.
    """
    latest = now + timedelta(seconds=bounds(polling)[1])
    if node.next_poll <= latest and all((past or now) <= now for past in (node.last_poll, node.last_answer, node.missing_since)):
        return None
    return evolve(
        node,
        next_poll=min(node.next_poll, now + timedelta(seconds=polling.candidate_interval * chance)),
        last_poll=min(node.last_poll, now) if node.last_poll is not None else None,
        last_answer=min(node.last_answer, now) if node.last_answer is not None else None,
        missing_since=min(node.missing_since, now) if node.missing_since is not None else None,
    )


def bounds(polling: Polling) -> tuple[float, float]:
    """The least and the greatest delay, in seconds, that L{conclude} gives to a poll that nobody asked for."""
    least = min(BACKOFF_FIRST, polling.interval, polling.candidate_interval) * (1.0 - JITTER)
    most = max(BACKOFF_MAX, polling.interval, polling.candidate_interval) * (1.0 + JITTER)
    return least, most
