"""All destinations in numbers, counted in slices: thousands of them at once would hold up everybody else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from attrs import Factory, define
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Cooperator

from socialrelay.scheduler.destination import Destination
from socialrelay.scheduler.record import State

SLICE = 1000
"""Destinations between two turns of the reactor; some 2 ms."""


@define
class Census:
    """
    How it stands with all who are served.

    @ivar states: how many are in each state.
    @ivar behind: of each state, how many read the log behind its end.
    @ivar positions: of each state, by how many positions of the log they are behind, all together.
    @ivar windows: how many may be sent so many posts at a time.
    @ivar waiting: deliveries that wait in memory.
    @ivar deferred_posts: posts that are tried on their own.
    """

    states: Counter[State] = Factory(Counter)
    behind: Counter[State] = Factory(Counter)
    positions: Counter[State] = Factory(Counter)
    windows: Counter[int] = Factory(Counter)
    waiting: int = 0
    deferred_posts: int = 0

    def count(self, destinations: Iterable[Destination], end: int, served: Callable[[str], bool]) -> None:
        """
        Count some.

        @param end: the log's end.
        @param served: whether a host that is not subscribed is counted nevertheless.
        """
        for each in destinations:
            host = each.host
            if not each.subscribed and not served(host.name):
                continue
            self.states[host.state] += 1
            self.windows[host.feedback.width] += 1
            if not each.following and each.cursor < end:
                self.behind[host.state] += 1
                self.positions[host.state] += end - each.cursor
            if each.queue or each.deferred:
                self.waiting += len(each.queue)
                self.deferred_posts += len(each.deferred)


def take(
    destinations: Callable[[], Sequence[Destination]], end: Callable[[], int], served: Callable[[str], bool], clock: IReactorTime
) -> Deferred[Census]:
    """
    Count all.

    @param destinations: asked once.
    @return: fires within some turns of the reactor.
    """
    census = Census()

    def slices() -> Iterator[None]:
        found = destinations()
        for start in range(0, len(found), SLICE):
            census.count(found[start : start + SLICE], end(), served)
            yield

    # One slice a turn: what came meanwhile has its turn between two.
    cooperator = Cooperator(terminationPredicateFactory=lambda: lambda: True, scheduler=lambda work: clock.callLater(0, work))
    return cooperator.coiterate(slices()).addCallback(lambda _: census)
