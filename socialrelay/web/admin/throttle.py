"""How many wrong passwords one client, and all together, may try."""

from __future__ import annotations

from collections import deque

from attrs import Factory, define, field

from socialrelay.config import Memory
from socialrelay.ratelimit import Lru

PER_CLIENT = 5
IN_ALL = 30
WINDOW = 60.0


@define(eq=False)
class Throttle:
    """
    Counts wrong passwords of the last L{WINDOW} seconds. One that is being checked counts as wrong until it turns out to be right: else
    whoever tries many at once would try too many.

    @ivar refused: tries that came too early.
    @ivar most: clients that are remembered.
    @ivar clients: the tries of each.
    """

    most: int = Memory().login_clients
    refused: int = 0
    _all: deque[float] = field(init=False, factory=deque)
    clients: Lru[str, deque[float]] = field(init=False, default=Factory(lambda self: Lru(self.most), takes_self=True))

    def begin(self, client: str, now: float) -> float:
        """
        Count a try, if it may be made.

        @return: 0.0 if it may; else for how many seconds nothing is tried, not even the right password.
        """
        own = self.clients.get(client) or deque()
        wait = max(_wait(own, PER_CLIENT, now), _wait(self._all, IN_ALL, now))
        if wait:
            self.refused += 1
            return wait
        own.append(now)
        self._all.append(now)
        self.clients[client] = own
        return 0.0

    def right(self, client: str) -> None:
        """The last try was right: it does not count."""
        for tries in (self.clients.get(client), self._all):
            if tries:
                tries.pop()


def _wait(tries: deque[float], limit: int, now: float) -> float:
    while tries and now - tries[0] >= WINDOW:
        tries.popleft()
    return tries[0] + WINDOW - now if len(tries) >= limit else 0.0
