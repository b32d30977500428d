"""
What the relay does, told to the bus without anybody who does it waiting for that.

An announcement is put into a bounded queue, and that is all its caller pays for.  It is written as a message and handed on from there in a
later turn of the reactor, a few at a time.  When the queue is full, because the bus or its database is slower than the relay, what comes is
dropped and counted: deliveries never feel it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from datetime import datetime

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from socialrelay.boundaries import Announce, BusMessage
from socialrelay.bounds import Bound
from socialrelay.bus.own import OwnMessages
from socialrelay.config import Bus
from socialrelay.ratelimit import TokenBuckets

MOST_BYTES = 8 * 1024 * 1024
"""Of the texts in the announcements that wait."""

SLICE = 100
"""Handed on in one turn of the reactor: two milliseconds of work, or three."""

AGAIN = 0.25
"""Seconds until it is tried again to hand on what was not taken."""

OF_STRANGERS = ("payload.rejected", "payload.duplicate", "node.blocked")
"""
Of these anybody can cause thousands a second, or somebody else's list tens of thousands at once.  They would push out of the store what
scripts have to say.
"""

BURST, RATE = 1000, 2.0
"""Of each of those: at once, and a second."""


class Announcer:
    """
    Implements L{Announce}.  What is announced before the start is kept for it; after the stop nothing is.

    @ivar announced: event -> how many were handed on, since the start of the process.
    @ivar dropped: event -> how many were not, because there were too many or they were no messages.
    """

    _log = Logger()

    def __init__(
        self,
        own: OwnMessages,
        keep: Callable[[BusMessage], bool],
        clock: IReactorTime,
        now: Callable[[], datetime],
        *,
        most: int = Bus().announcements,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        """
        @param keep: takes a message to be kept and published, or says that there is no room now (L{socialrelay.bus.journal.Journal.keep}).
        @param most: announcements that may wait.
        @param most_bytes: of the texts in them.
        """
        self._own = own
        self._keep = keep
        self._clock = clock
        self._now = now
        self._most = most
        self._most_bytes = most_bytes
        self._buckets = TokenBuckets(RATE, BURST, len(OF_STRANGERS))
        self._waiting: deque[tuple[str, Mapping[str, object], datetime, int]] = deque()
        self._bytes = 0
        self._unwritten: BusMessage | None = None
        self._running = self._stopped = False
        self._turn: IDelayedCall | None = None
        self._over: Deferred[None] | None = None
        self.announced: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()

    def __call__(self, event: str, members: Mapping[str, object]) -> None:
        """See L{Announce}."""
        if self._stopped:
            return
        size = _size(members)
        full = len(self._waiting) >= self._most or self._bytes + size > self._most_bytes
        if full or (event in OF_STRANGERS and self._buckets.take(event, self._clock.seconds())):
            self.dropped[event] += 1
            return
        self._waiting.append((event, members, self._now(), size))
        self._bytes += size
        if self._running and self._turn is None:
            self._turn = self._clock.callLater(0.0, self._hand_on)

    @property
    def waiting(self) -> int:
        """Announcements that are not handed on yet."""
        return len(self._waiting)

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """What is in memory."""
        return (Bound("announcements", lambda: len(self._waiting), lambda: self._most, lambda: sum(self.dropped.values())),)

    @property
    def waiting_bytes(self) -> int:
        """Of the texts in them."""
        return self._bytes

    def start(self) -> None:
        """Begin to hand on."""
        self._running = True
        if self._waiting:
            self._turn = self._clock.callLater(0.0, self._hand_on)

    def stop(self) -> Deferred[None]:
        """
        Take nothing more.

        @return: fires when what waits is handed on, or is dropped because nobody takes it.
        """
        self._stopped = True
        if self._turn is None:
            self._drop_all()
            return succeed(None)
        if self._over is None:
            self._over = Deferred()
        answer: Deferred[None] = Deferred()
        self._over.chainDeferred(answer)
        return answer

    def _hand_on(self) -> None:
        self._turn = None
        pause = 0.0
        for _ in range(min(SLICE, len(self._waiting))):
            event, members, at, size = self._waiting[0]
            if not self._handed_on(event, members, at):
                pause = AGAIN
                break
            self._waiting.popleft()
            self._bytes -= size
        if self._stopped and (pause or not self._waiting):
            self._drop_all()
            if self._over is not None:
                self._over.callback(None)
        elif self._waiting:
            self._turn = self._clock.callLater(pause, self._hand_on)

    def _handed_on(self, event: str, members: Mapping[str, object], at: datetime) -> bool:
        """Whether the first that waits is over."""
        try:
            message, self._unwritten = self._unwritten or self._own.kept(event, members, at), None
            if not self._keep(message):
                self._unwritten = message
                return False
        except Exception:
            self._log.failure("{event} could not be announced", event=event)
            self.dropped[event] += 1
        else:
            self.announced[event] += 1
        return True

    def _drop_all(self) -> None:
        for event, *_ in self._waiting:
            self.dropped[event] += 1
        self._waiting.clear()
        self._bytes = 0


def _size(members: Mapping[str, object]) -> int:
    """About how much there is of it: all that can be long is text."""
    return sum(len(value) for value in members.values() if isinstance(value, str))


def _conforms(announcer: Announcer) -> Announce:
    return announcer
