"""
The states of hosts: when one fails, what is held for it is let go, and it is tried again with a single delivery after a while.

The model is Postfix's queue manager (postfix:/postfix/README_FILES/SCHEDULER_README), whose destinations are dead or alive likewise.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from socialrelay.scheduler.alarms import Alarms
from socialrelay.scheduler.backoff import DEAD_PROBE, Backoff
from socialrelay.scheduler.destination import Destination
from socialrelay.scheduler.host import Host
from socialrelay.scheduler.journal import Journal
from socialrelay.scheduler.ledger import Ledger
from socialrelay.scheduler.moment import Moment
from socialrelay.scheduler.orders import Event, What
from socialrelay.scheduler.reader import Reader
from socialrelay.scheduler.record import State
from socialrelay.scheduler.roster import Roster

WAKE_PAUSE = 60.0
POST_RETRY = 600.0
GONE_ANSWERS = 3
GONE_AFTER = 86400.0


class Breaker:
    """
    @ivar events: what happened, for whoever drives the queue manager to take away.
    """

    def __init__(
        self,
        lifetime: float,
        backoff: Backoff,
        roster: Roster,
        ledger: Ledger,
        reader: Reader,
        alarms: Alarms,
        consider: Callable[[Destination, Moment], None],
    ) -> None:
        """
        @param lifetime: seconds; a host without success for so long is dead.
        @param consider: told of a destination that may need something now.
        """
        self.events: list[Event] = []
        self.lifetime = lifetime
        self._backoff = backoff
        self._roster = roster
        self._ledger = ledger
        self._journal: Journal = ledger.journal
        self._reader = reader
        self._alarms = alarms
        self._consider = consider

    def remember(self, destination: Destination, at: float) -> None:
        """Think of a destination at a monotonic time; once, however often this is asked for."""
        if at < destination.alarm:
            destination.alarm = at
            self._alarms.put(at, destination.number)

    def consider_host(self, host: Host, now: Moment) -> None:
        """See what its destinations need."""
        for destination in self._roster.of_host(host.name):
            self._consider(destination, now)

    # By answers

    def well(self, destination: Destination) -> None:
        """The host answers like one that is well."""
        host = destination.host
        if host.state in (State.ACTIVE, State.SUSPENDED):
            return
        self.events.append(Event(What.BACK, host.name, failures=host.failures))
        host.recovered()
        for other in self._roster.of_host(host.name):
            self._journal.changed(other)

    def defer(self, host: Host, reason: str, wait: float | None, now: Moment) -> None:
        """The host failed: nothing for it stays in memory, and it is tried again after a while."""
        if host.state is State.SUSPENDED:
            return
        host.failures += 1
        host.cohort += 1
        host.last_reason = reason
        dead = host.fails(now) >= self.lifetime
        delay = self._backoff.vary(DEAD_PROBE) if dead else max(self._backoff.delay(host.failures), wait or 0.0)
        was, host.state = host.state, State.DEAD if dead else State.DEFERRED
        host.next_attempt = now.seconds + delay
        if was is not host.state or host.failures == 1:
            self.events.append(Event(What(host.state.value), host.name, reason, delay, host.failures))
        for destination in self._roster.of_host(host.name):
            self._reader.drop(destination)
            for entry in destination.retries:
                self._alarms.put(host.next_attempt + POST_RETRY, destination.number, entry.position)
            destination.retries = ()
            self.remember(destination, host.next_attempt)
            self._journal.changed(destination)
            if dead and destination.subscribed:
                self._reader.abandon(destination, self._ledger.end, "expired", "the node is dead")

    def says_gone(self, host: Host, reason: str, now: Moment) -> bool:
        """
        The host answered that it has gone for good.

        @return: it has said so often and long enough: what was pending for it is cancelled.
        """
        lasted = host.says_gone(now)
        if host.gone_answers < GONE_ANSWERS or lasted < GONE_AFTER:
            return False
        host.state = State.GONE
        host.last_reason = reason
        self.events.append(Event(What.GONE, host.name, reason))
        for destination in self._roster.of_host(host.name):
            self._journal.changed(destination)
            self._reader.abandon(destination, self._ledger.end, "cancelled", "the node says that it is gone")
        return True

    # By signs of life, and by operators

    def wake(self, name: str, now: Moment, reopen: bool = False) -> bool:
        """
        A sign of life: the host is tried now, at most once a minute.

        @param reopen: also if it had gone.
        @return: whether there is such a host.
        """
        host = self._roster.host(name)
        if host is None:
            return False
        if host.state is State.GONE and reopen:
            host.state = State.DEFERRED
            host.gone_answers, host.gone_from = 0, None
            host.woken_at = -inf
        if host.probing and now.seconds - host.woken_at >= WAKE_PAUSE:
            host.woken_at = now.seconds
            host.next_attempt = now.seconds
            self.consider_host(host, now)
        return True

    def suspend(self, name: str) -> bool:
        """Send it nothing until it is resumed."""
        host = self._roster.host(name)
        if host is None:
            return False
        host.state = State.SUSPENDED
        for destination in self._roster.of_host(name):
            self._reader.drop(destination)
            self._journal.changed(destination)
        return True

    def resume(self, name: str, now: Moment) -> bool:
        """Go on, as with a host that is well."""
        host = self._roster.host(name)
        if host is None:
            return False
        if host.state is not State.ACTIVE:
            host.recovered()
            for destination in self._roster.of_host(name):
                self._journal.changed(destination)
        self.consider_host(host, now)
        return True
