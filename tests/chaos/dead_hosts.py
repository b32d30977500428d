"""Nodes that refuse every connection for a week, whatever is posted: the real queue on simulated time."""

from __future__ import annotations

from collections import defaultdict
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, succeed

from socialrelay.federation import DeliveryRequest
from socialrelay.scheduler.orders import Limits
from socialrelay.scheduler.outcome import NoAnswer, Reply, Trouble
from socialrelay.storage.memory import MemoryTables, memory_storage
from tests.bookkeeping import Books
from tests.chaos.finding import Finding

WEEK = 7 * 86400.0
DAYS = 7
ATTEMPTS = 25


class Refusing:
    """
    Nodes that are not there.

    @ivar tries: host -> when it was tried.
    """

    def __init__(self, seconds: Any) -> None:
        self._seconds = seconds
        self.tries: defaultdict[str, list[float]] = defaultdict(list)
        self.slow: list[Any] = []

    def send(self, request: DeliveryRequest, timeout: float) -> Deferred[Reply]:
        self.tries[request.url.split("/")[2]].append(self._seconds())
        return succeed(NoAnswer(Trouble.CONNECT))


def prove(full: bool) -> Finding:
    hosts, posts = (500, 10_000) if full else (50, 1_000)
    chance = Random(6)
    nodes = Refusing(lambda: books.clock.seconds())
    books = Books(memory_storage(MemoryTables()), nodes=nodes, limits=Limits(), chance=chance.random)
    Deferred.fromCoroutine(books.load())
    names = [f"dead-{number}.example" for number in range(hosts)]
    for name in names:
        books.subscribe(name)
    began = books.clock.seconds()
    times = sorted(chance.uniform(0.0, WEEK) for _ in range(posts))
    for at in [*times, WEEK]:
        _until(books, began + at)
        books.post(names, f"author{chance.randrange(100)}@pod.example")
    most = max(len(nodes.tries[name]) for name in names)
    mean = sum(map(len, nodes.tries.values())) / hosts
    uneven = books.in_memory()
    return Finding(
        done=f"{hosts} nodes that refuse connections, {posts} posts to all of them in {DAYS} simulated days",
        figure=f"at most {most} attempts for a node, {mean:.1f} on average, for {posts} posts each; {len(uneven)} accounts out",
        held=most <= ATTEMPTS and not uneven and min(len(nodes.tries[name]) for name in names) > 5,
        figures={"attempts_most": most, "attempts_mean": mean},
    )


def _until(books: Books, at: float) -> None:
    """Time passes; what is due happens when it is due."""
    while (due := min(call.getTime() for call in books.clock.getDelayedCalls())) <= at:
        books.clock.advance(max(due - books.clock.seconds(), 0.0))
    books.clock.advance(at - books.clock.seconds())
