"""What the queue manager reports, told to the log, the counts, the poller and the bus."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from socialrelay.delivery.announcing import DeliveryAnnouncements
from socialrelay.scheduler.orders import Event, Settled, What
from socialrelay.statistics import Tally
from socialrelay.words import counted


class DeliveryNews:
    """
    One line for each change of a node's state; none for each delivery, unless asked for.

    @ivar log_each: it is asked for.
    """

    _log = Logger()

    def __init__(
        self,
        tally: Tally,
        poll: Callable[[str], object],
        log_each: bool,
        retire: Callable[[str], object] = lambda host: None,
        announcements: DeliveryAnnouncements | None = None,
    ) -> None:
        """
        @param poll: asked to read a node's preferences.
        @param retire: told of a host that is gone.
        """
        self._tally = tally
        self._poll = poll
        self.log_each = log_each
        self._retire = retire
        self._announcements = announcements or DeliveryAnnouncements()

    def event(self, event: Event) -> None:
        """A node's state changed."""
        self._announcements.event(event)
        if event.what is What.POLL:
            self._poll(event.host)
        elif event.what is What.BACK:
            self._log.info("{host} takes posts again after {failures}.", host=event.host, failures=counted(event.failures, "failure"))
        elif event.what is What.DEFERRED:
            self._tally.count("failed", event.host)
            self._log.info(
                "{host} is deferred: {reason}. It is tried again in {delay} s.",
                host=event.host,
                reason=event.reason,
                delay=round(event.delay),
            )
        elif event.what is What.DEAD:
            self._log.warn(
                "{host} is dead: no success for as long as a post may wait, at last {reason}. What waited for it is expired; it is tried "
                "once a week.",
                host=event.host,
                reason=event.reason,
            )
        else:
            self._log.warn(
                "{host} is gone: for more than a day it has answered {reason} to deliveries. What waited for it is cancelled, and it is "
                "left alone for a week; `socialrelay wake {host}` takes it up again at once.",
                host=event.host,
                reason=event.reason,
            )
            self._retire(event.host)

    def settled(self, settled: Settled) -> None:
        """A post is over at a node."""
        self._tally.count(settled.outcome, settled.host, settled.posts)
        if settled.delay is not None:
            self._tally.delays.observe(settled.delay)
        self._announcements.settled(settled)
        if self.log_each or settled.outcome == "bounced":
            self._log.info(
                "Post {post} is {outcome} at {host}: {reason}.",
                post=settled.digest or settled.position,
                position=settled.position,
                outcome=settled.outcome,
                host=settled.host,
                reason=settled.reason,
            )
