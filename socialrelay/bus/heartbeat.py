"""
What the relay says on the bus and nobody keeps: that it lives, up to which number it has come, and that a listener was too slow.

Who listens compares C{last_seq} with the last number that came, and asks for what is between.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from socialrelay.boundaries import BusMessage
from socialrelay.bus.own import OwnMessages

TELL = 1.0
"""Seconds for which overflows are gathered: to tell of each at once would be more of what there was too much of."""


class Heartbeat:
    """
    Says it, whenever L{beat} is called, which is periodic work.

    @ivar overflows: socket -> episodes in which a listener there was too slow, since the start of the process.
    """

    def __init__(
        self,
        own: OwnMessages,
        publish: Callable[[BusMessage], object],
        figures: Callable[[], Mapping[str, int]],
        clock: IReactorTime,
        now: Callable[[], datetime],
    ) -> None:
        """
        @param publish: to whoever listens; kept nowhere.
        @param figures: C{last_seq}, C{dropped}, C{backlog} and C{subscribers}.
        """
        self._own = own
        self._publish = publish
        self._figures = figures
        self._clock = clock
        self._now = now
        self._since = clock.seconds()
        self._telling: IDelayedCall | None = None
        self._untold: set[str] = set()
        self.overflows: Counter[str] = Counter()

    def beat(self) -> None:
        """Once: C{relay.heartbeat}."""
        uptime = int(self._clock.seconds() - self._since)
        self._say("relay.heartbeat", {**self._figures(), "uptime": uptime})

    def overflowed(self, socket: str) -> None:
        """
        A listener was too slow, and lost messages; C{relay.overflow} soon says so.

        @param socket: the name of the socket in the configuration.
        """
        self.overflows[socket] += 1
        self._untold.add(socket)
        if self._telling is None:
            self._telling = self._clock.callLater(TELL, self._tell)

    def stop(self) -> None:
        """Say nothing more."""
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None

    def _tell(self) -> None:
        self._telling = None
        sockets, self._untold = sorted(self._untold), set()
        for socket in sockets:
            self._say("relay.overflow", {"socket": socket, "episodes": self.overflows[socket]})

    def _say(self, event: str, members: Mapping[str, object]) -> None:
        self._publish(self._own.passing(event, members, self._now()))
