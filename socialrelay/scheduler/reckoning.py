"""
What the end of an attempt means for the post, the destination and its host.

====================  =================================================================================================
what came back        what follows (L{socialrelay.scheduler.outcome.judge} tells them apart)
====================  =================================================================================================
delivered             settled; the host is well
bounced               settled, counted; the host is well, but ten different posts refused in a row defer it
post later            two more tries on its own, then bounced; settled for the cursor, so that it holds up nothing
host failed           the host is deferred: nothing waits in memory, the cursor stands, one probe when the back-off is over
no receiver           the same, and its preferences are polled
gone                  the same; three times over at least a day: the host is gone, what was pending is cancelled
====================  =================================================================================================
"""

from __future__ import annotations

from socialrelay.scheduler.alarms import Alarms
from socialrelay.scheduler.backoff import Backoff
from socialrelay.scheduler.breaker import POST_RETRY, Breaker
from socialrelay.scheduler.destination import Destination
from socialrelay.scheduler.ledger import Ledger
from socialrelay.scheduler.moment import Moment
from socialrelay.scheduler.orders import Attempt, Event, What
from socialrelay.scheduler.outcome import Effect, Judgement
from socialrelay.scheduler.reader import PAUSE, Reader
from socialrelay.scheduler.record import State

REFUSED_IN_A_ROW = 10
POST_TRIES = 3
DEFERRED_POSTS_MAX = 50


class Reckoning:
    """Draws the consequences of attempts that are over; the caller has taken them from what is under way."""

    def __init__(self, window: int, post_backoff: Backoff, ledger: Ledger, reader: Reader, breaker: Breaker, alarms: Alarms) -> None:
        """
        @param window: deliveries to one host at a time, at most.
        @param post_backoff: for a post that keeps failing at a host which takes others.
        """
        self.window = window
        self._post_backoff = post_backoff
        self._ledger = ledger
        self._journal = ledger.journal
        self._reader = reader
        self._breaker = breaker
        self._alarms = alarms

    def expired(self, attempt: Attempt, reason: str) -> None:
        """The post is not kept any more, or too old: it was not sent."""
        self._ledger.finish(attempt.destination, attempt.entry.position, "expired", reason, attempt.entry.digest)

    def aborted(self, attempt: Attempt, now: Moment) -> bool:
        """
        It was not sent, or cut off by ourselves: nothing is known. It is read from the log again in a while.

        @return: the destination is sent nothing until then, for the sake of the order.
        """
        destination, position = attempt.destination, attempt.entry.position
        destination.doubt(position)
        if self._lapsed(attempt):
            self._ledger.finish(destination, position, "cancelled", "it takes nothing any more")
        elif position in destination.deferred:
            self._alarms.put(now.seconds + PAUSE, destination.number, position)
        else:
            self._reader.drop(destination)
            self._breaker.remember(destination, now.seconds + PAUSE)
            return True
        return False

    def ended(self, attempt: Attempt, judgement: Judgement, full: bool, now: Moment) -> None:
        """
        An answer came, or none.

        @param full: the host's window held others back while it was under way.
        """
        destination, host, effect = attempt.destination, attempt.destination.host, judgement.effect
        seconds = now.seconds - attempt.begun
        if effect in (Effect.DELIVERED, Effect.BOUNCED, Effect.POST_LATER):
            host.feedback.succeeded(seconds, self.window, full)
            self._taken(attempt, judgement, now)
            return
        position = attempt.entry.position
        if self._lapsed(attempt):
            self._ledger.finish(destination, position, "cancelled", judgement.reason, attempt.entry.digest)
        if position in destination.deferred and judgement.answered and effect is Effect.HOST_FAILED and not attempt.probe:
            self._later(attempt, judgement, now, forever=True)
        else:
            if judgement.perhaps:
                destination.doubt(position)
            self._host_failed(attempt, judgement, seconds, now)

    def _lapsed(self, attempt: Attempt) -> bool:
        """While it was under way the destination was given up, up to this post at least: this was its last attempt."""
        destination, position = attempt.destination, attempt.entry.position
        return not destination.wanted or position in destination.lapsed

    # The host answered for this post

    def _taken(self, attempt: Attempt, judgement: Judgement, now: Moment) -> None:
        destination, position = attempt.destination, attempt.entry.position
        first, lapsed = position not in destination.deferred, self._lapsed(attempt)
        self._breaker.well(destination)
        if judgement.effect is Effect.DELIVERED:
            destination.host.refused = 0
            destination.host.last_success = now.wall
            self._ledger.delivered(destination, position, judgement.reason, now, _delay(attempt, now), attempt.entry.digest)
            if destination.suspects:
                self._release_suspects(destination, now)
            return
        destination.suspects = ()
        if judgement.effect is Effect.BOUNCED:
            self._ledger.finish(destination, position, "bounced", judgement.reason, attempt.entry.digest)
        elif lapsed:
            self._ledger.finish(destination, position, "cancelled", judgement.reason, attempt.entry.digest)
        else:
            self._later(attempt, judgement, now)
        self._refused(destination, judgement, now, first)

    def _later(self, attempt: Attempt, judgement: Judgement, now: Moment, forever: bool = False) -> None:
        """
        The post is tried again on its own.

        @param forever: until it is older than the queue lifetime, instead of three times.
        """
        destination, position = attempt.destination, attempt.entry.position
        known = destination.deferred.get(position)
        attempts = 1 if known is None else known.attempts + 1
        if attempts >= POST_TRIES and not forever:
            self._ledger.finish(destination, position, "bounced", judgement.reason, attempt.entry.digest)
            return
        delay = self._post_backoff.delay(attempts) if forever else POST_RETRY
        self._defer_post(destination, position, attempts, max(delay, judgement.wait or 0.0), judgement.reason, now)

    def _refused(self, destination: Destination, judgement: Judgement, now: Moment, first: bool) -> None:
        """C{first}: the post was not refused before."""
        host = destination.host
        host.refused += first
        if host.refused >= REFUSED_IN_A_ROW:
            host.refused = 0
            self._breaker.defer(host, f"{REFUSED_IN_A_ROW} posts refused in a row, the last with {judgement.reason}", None, now)
            self._breaker.events.append(Event(What.POLL, host.name))

    def _release_suspects(self, destination: Destination, now: Moment) -> None:
        """The host takes posts: those that it answered with an error are tried on their own."""
        suspects, destination.suspects = destination.suspects, ()
        for position in suspects:
            if destination.pending(position) and position not in destination.in_flight:
                destination.withdraw((position,))
                delay = self._post_backoff.delay(1)
                self._defer_post(destination, position, 1, delay, "HTTP 5xx while other posts are taken", now)

    def _defer_post(self, destination: Destination, position: int, attempts: int, delay: float, reason: str, now: Moment) -> None:
        known = position in destination.deferred
        self._ledger.defer_post(destination, position, attempts, delay, reason, now)
        if not known and len(destination.deferred) > DEFERRED_POSTS_MAX and destination.host.state is State.ACTIVE:
            self._breaker.defer(destination.host, f"more than {DEFERRED_POSTS_MAX} posts fail on their own", None, now)

    # The host failed

    def _host_failed(self, attempt: Attempt, judgement: Judgement, seconds: float, now: Moment) -> None:
        destination, host = attempt.destination, attempt.destination.host
        position = attempt.entry.position
        if position in destination.deferred:
            self._alarms.put(now.seconds + POST_RETRY, destination.number, position)
        elif judgement.answered and judgement.effect is Effect.HOST_FAILED and position not in destination.suspects:
            destination.suspects = (*destination.suspects[-DEFERRED_POSTS_MAX:], position)
        if attempt.cohort != host.cohort or host.state in (State.SUSPENDED, State.GONE):
            self._reader.drop(destination)
            return
        host.feedback.failed(seconds)
        if judgement.effect is Effect.GONE and self._breaker.says_gone(host, judgement.reason, now):
            return
        self._breaker.defer(host, judgement.reason, judgement.wait, now)
        if judgement.effect in (Effect.NO_RECEIVER, Effect.GONE):
            self._breaker.events.append(Event(What.POLL, host.name))


def _delay(attempt: Attempt, now: Moment) -> float | None:
    """Seconds from acceptance, pacing included, of a post that went out as it came; not of one read from the log or tried before."""
    destination, entry = attempt.destination, attempt.entry
    if attempt.late or attempt.probe or not destination.following:
        return None
    if entry.position in destination.deferred or (destination.missed and destination.stretch_of(entry.position) is not None):
        return None
    return (now.wall - entry.received_at).total_seconds()
